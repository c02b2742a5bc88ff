"""The reports for programs: the same JSON as the commands print."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.reports import access, services
from apps.reports.selectors import ALL

_MAX_SEED = 2**32 - 1


class AgreementReport(APIView):
    """How far judges agree with people, people with each other, and a judge with itself."""

    class InputSerializer(serializers.Serializer[Any]):
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=_MAX_SEED)

    @extend_schema(parameters=[OpenApiParameter("seed", int)], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.InputSerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        return Response(services.agreement_report(project=project, seed=values["seed"]))


class LeaderboardReport(APIView):
    """Models by strength, win rate and Elo."""

    class InputSerializer(serializers.Serializer[Any]):
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=_MAX_SEED)
        # a field of this name hides an attribute that only nested serializers use
        source = serializers.CharField(required=False, default=ALL, max_length=200, trim_whitespace=False)  # type: ignore[assignment]

    @extend_schema(
        parameters=[
            OpenApiParameter("seed", int),
            OpenApiParameter("source", str, description="all, human or a judge"),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.InputSerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        return Response(services.leaderboard_report(project=project, source=values["source"], seed=values["seed"]))
