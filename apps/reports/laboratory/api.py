"""Studies for programs: what there is, what one found, and starting it."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.views import person
from apps.core.api import BodySerializer
from apps.jobs.clock import database_now
from apps.reports import access
from apps.reports.laboratory.report import laboratory_report, study_report
from apps.reports.laboratory.running import study_start, study_stop
from apps.reports.models import MAX_SEEDS
from prefloop.studies.catalogue import UnknownStudy, get_study
from prefloop.studies.declaration import Study
from prefloop.types import PrefloopError


class StudyList(APIView):
    """Every study of the laboratory, how far it is in this project, and its verdict."""

    @extend_schema(operation_id="v1_projects_studies_list", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        keys = ("study", "title", "finding", "state", "n_seeds", "n_runs", "n_done", "verdict", "sentence")
        return Response([{key: report[key] for key in keys} for report in laboratory_report(project=project)])


class StudyDetail(APIView):
    """What a study found: its verdict, its claims with their numbers, its curves and every measured policy."""

    class InputSerializer(BodySerializer):
        seeds = serializers.IntegerField(
            required=False, allow_null=True, default=None, min_value=1, max_value=MAX_SEEDS, help_text="null: its own."
        )
        budget_minutes = serializers.FloatField(
            required=False, allow_null=True, default=None, help_text="No run starts after that; null sets no limit."
        )

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str, name: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        return Response(study_report(project=project, declared=_declared(name)))

    @extend_schema(
        request=InputSerializer,
        responses={
            202: OpenApiTypes.OBJECT,
            400: OpenApiResponse(description="A wrong number, or the study can't run in this project."),
        },
    )
    def post(self, request: Request, slug: str, name: str) -> Response:
        """Start the study, or continue it: what is done stays."""
        project = access.project_for_studies(request.user, slug)
        declared = _declared(name)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        try:
            study_start(
                project=project,
                name=declared.name,
                n_seeds=values["seeds"],
                budget_minutes=values["budget_minutes"],
                started_by=person(request),
                now=database_now(),
            )
        except PrefloopError as error:
            raise serializers.ValidationError({"detail": str(error)}) from error
        return Response(study_report(project=project, declared=declared), status=status.HTTP_202_ACCEPTED)


class StudyStop(APIView):
    """Start no more runs of the study; what it measured stays."""

    @extend_schema(request=None, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request, slug: str, name: str) -> Response:
        declared = _declared(name)
        found = access.study_for_write(request.user, slug, declared.name)
        study_stop(study=found, by=person(request), now=database_now())
        return Response(study_report(project=found.project, declared=declared))


def _declared(name: str) -> Study:
    try:
        return get_study(name)
    except UnknownStudy as error:
        raise Http404(str(error)) from error
