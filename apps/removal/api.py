"""Deletion and retention for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.core.form_api import body_of, filled, sent
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.removal.forms import DeletionForm, RetentionForm
from apps.removal.retention import KEPT, retention_set
from apps.removal.services import Asked, check_free, effect_of, removal_start

BAD = OpenApiResponse(description="One line says why nothing changed.")
RetentionBody: Any = type(
    "RetentionBody",
    (BodySerializer,),
    {
        name: serializers.IntegerField(required=False, allow_null=True, help_text=f"Days; null: for ever. {name}")
        for name in KEPT
    },
)


class Deletions(APIView):
    """Delete a prompt (`which`: its id), a person's data (the name of their labels) or the project (its address).

    With `dry_run` nothing is done, and the answer says what would go. Otherwise a job is started.
    """

    InputSerializer = body_of(
        DeletionForm, name="DeletionInput", dry_run=serializers.BooleanField(required=False, default=False)
    )

    @extend_schema(
        request=InputSerializer,
        responses={
            202: OpenApiTypes.OBJECT,
            200: OpenApiResponse(OpenApiTypes.OBJECT, description="dry_run"),
            400: BAD,
            409: OpenApiResponse(description="Something of the project is at work."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.OWNER)
        given = sent(self.InputSerializer(data=request.data))
        dry_run = given.pop("dry_run", False)
        asked = Asked(**filled(DeletionForm(project=project), given).cleaned_data)
        effect = asdict(effect_of(project, asked))
        check_free(project, asked)
        if dry_run:
            return Response({"effect": effect})
        job = removal_start(project=project, asked=asked, by=cast(User, request.user))
        return Response({"effect": effect, "job": job.pk}, status=status.HTTP_202_ACCEPTED)


class Retention(APIView):
    """For how many days a project keeps each kind of data. PATCH changes it."""

    @extend_schema(responses={200: RetentionBody})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.OWNER)
        return Response({name: project.retention.get(name) for name in KEPT})

    @extend_schema(request=RetentionBody, responses={200: RetentionBody, 400: BAD})
    def patch(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.OWNER)
        given = sent(RetentionBody(data=request.data))
        form = filled(RetentionForm(initial=project.retention), given)
        retention_set(project=project, days=form.cleaned_data, by=cast(User, request.user))
        return self.get(request, slug)
