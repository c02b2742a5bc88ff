"""The report on reward models, for programs."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.reports import access
from apps.reports.reward_models import Asked, reward_models_report


class RewardModelsReport(APIView):
    """How right and how calibrated the project's reward models are, what they lean to, and RewardBench's categories."""

    class QuerySerializer(serializers.Serializer[Any]):
        set = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=200, help_text="A prompt set; left out: all pairs."
        )
        key = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=200, help_text="Metadata to split accuracy by."
        )

    @extend_schema(parameters=[QuerySerializer], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        return Response(reward_models_report(project, Asked(set=values["set"], key=values["key"])))
