"""“Compare on N prompts” by program: two checkpoints answer the same prompts, and the answers are compared."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.training.loops.meeting_forms import MeetingForm
from apps.training.rounds.meetings import meeting_start

MeetingBody = body_of(MeetingForm)


class Meetings(APIView):
    """Have two checkpoints (by id) answer the same held-out prompts. What is said counts on the leaderboard."""

    class OutputSerializer(serializers.Serializer[Any]):
        name = serializers.CharField()
        jobs = serializers.ListField(child=serializers.IntegerField(), help_text="The first ones; others follow.")

    @extend_schema(
        request=MeetingBody,
        responses={202: OutputSerializer, 400: OpenApiResponse(description="One line says why nothing was started.")},
    )
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        form = MeetingForm(project)
        for name in ("first", "second"):
            form.fields[name].initial = None  # a page suggests two; a program says which
        group = meeting_start(
            project=project,
            started_by=cast(User, request.user),
            **filled(form, sent(MeetingBody(data=request.data))).meeting(),
        )
        said = {"name": group.name, "jobs": sorted(group.jobs.values_list("pk", flat=True))}
        return Response(self.OutputSerializer(said).data, status=status.HTTP_202_ACCEPTED)
