"""The reports for programs: the same JSON as the commands print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.views import person
from apps.core.api import BodySerializer
from apps.labels.exclusions import MAX_REASON, exclusion_create, exclusion_effect, exclusion_lift
from apps.projects.selectors import criterion_named
from apps.reports import access, services
from apps.reports.people import crew_of
from apps.reports.selectors import ALL
from prefloop.criteria import LONGEST_NAME

_MAX_SEED = 2**32 - 1


class AgreementReport(APIView):
    """How far judges agree with people, people with each other, and a judge with itself."""

    class QuerySerializer(serializers.Serializer[Any]):
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=_MAX_SEED)
        votes = serializers.ChoiceField(
            [services.ALL_VOTES, services.UNCHOSEN], required=False, default=services.ALL_VOTES
        )
        criterion = serializers.CharField(required=False, allow_blank=True, default="", max_length=LONGEST_NAME)

    @extend_schema(
        parameters=[
            OpenApiParameter("seed", int),
            OpenApiParameter(
                "votes",
                enum=[services.ALL_VOTES, services.UNCHOSEN],
                description="random leaves out votes on pairs that were chosen by what judges said of them",
            ),
            OpenApiParameter("criterion", str, description="a named criterion; left out: the unnamed one"),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        unchosen = values["votes"] == services.UNCHOSEN
        criterion = criterion_named(project, values["criterion"])
        report = services.agreement_report(project=project, seed=values["seed"], criterion=criterion, unchosen=unchosen)
        return Response(report)


class LeaderboardReport(APIView):
    """Models by strength, win rate and Elo, of the labels by one criterion."""

    class QuerySerializer(serializers.Serializer[Any]):
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=_MAX_SEED)
        # fields of these names hide attributes that only nested serializers and HTML forms use
        source = serializers.CharField(required=False, default=ALL, max_length=200, trim_whitespace=False)  # type: ignore[assignment]
        style = serializers.BooleanField(required=False, default=False)  # type: ignore[assignment]
        criterion = serializers.CharField(required=False, allow_blank=True, default="", max_length=LONGEST_NAME)

    @extend_schema(
        parameters=[
            OpenApiParameter("seed", int),
            OpenApiParameter("source", str, description="all, human or a judge"),
            OpenApiParameter("criterion", str, description="a named criterion; left out: the unnamed one"),
            OpenApiParameter("style", bool, description="with length, headers, lists and bold text held equal"),
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        values["criterion"] = criterion_named(project, values["criterion"])
        return Response(services.leaderboard_report(project=project, **values))


class PeopleReport(APIView):
    """Who labels: how much, how fast, how well, what looks suspicious, and who is excluded."""

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        return Response(crew_of(project=project, now=timezone.now()).as_json())


class ExclusionCreate(APIView):
    """Leave a person's labels out. With `dry_run` nothing is done, and the answer says what would change."""

    class InputSerializer(BodySerializer):
        rater = serializers.CharField(max_length=150, help_text="As votes name the person.")
        since = serializers.DateTimeField(
            required=False, allow_null=True, default=None, help_text="Labels given then or later; null: all of them."
        )
        reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_REASON)
        dry_run = serializers.BooleanField(required=False, default=False)

    class OutputSerializer(serializers.Serializer[Any]):
        exclusion = serializers.IntegerField(allow_null=True)
        rater = serializers.CharField()
        since = serializers.DateTimeField(allow_null=True)
        effect = serializers.DictField(child=serializers.IntegerField())

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="What would change (dry_run)."),
            400: OpenApiResponse(description="Nobody of this name has labelled anything."),
            409: OpenApiResponse(description="The person is excluded already."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        effect = exclusion_effect(project=project, rater=values["rater"], since=values["since"])
        body = {"exclusion": None, "rater": values["rater"], "since": values["since"], "effect": asdict(effect)}
        if values.pop("dry_run"):
            return Response(self.OutputSerializer(body).data)
        made = exclusion_create(project=project, **values, by=person(request), now=timezone.now())
        return Response(self.OutputSerializer(body | {"exclusion": made.pk}).data, status=status.HTTP_201_CREATED)


class ExclusionLift(APIView):
    """Undo an exclusion: the person's labels count again."""

    @extend_schema(request=None, responses={204: None, 409: OpenApiResponse(description="It was lifted before.")})
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        exclusion = access.exclusion_for_write(request.user, slug, pk)
        exclusion_lift(exclusion=exclusion, by=person(request), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
