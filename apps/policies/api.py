"""Checkpoints by program: listing and importing them, the default one, and approving one for use."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.core.form_api import body_of, filled, sent
from apps.jobs.api import JobStartedSerializer
from apps.jobs.models import Job
from apps.policies import selectors, services
from apps.policies.access import checkpoint_for_read, checkpoint_for_write
from apps.policies.approval import NOTE_CHARS, approval_withdraw, checkpoint_approve
from apps.policies.averaging import BY, average_start
from apps.policies.forms import ImportForm
from apps.projects.access import project_for
from apps.projects.models import Role

BAD = OpenApiResponse(description="One line says why nothing was done.")
ImportBody = body_of(ImportForm)
LookBody = body_of(ImportForm, name="ImportLookInput", leave_out=["name", "role"])


class CheckpointSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=("policy", "reward"))
    architecture = serializers.CharField(allow_blank=True)
    n_parameters = serializers.IntegerField(allow_null=True)
    fingerprint = serializers.CharField()
    recipe = serializers.CharField(allow_blank=True)
    # a field of this name hides an attribute that only nested serializers use
    parent = serializers.IntegerField(source="parent_id", allow_null=True)  # type: ignore[assignment]
    is_default = serializers.BooleanField(help_text="Where sampling and new loops start.")
    approved_at = serializers.DateTimeField(allow_null=True)
    learned_deleted_at = serializers.DateTimeField(
        allow_null=True, help_text="Since when data are deleted from which it, or a model before it, learned."
    )
    approved_by = serializers.CharField(source="approved_by.username", allow_null=True, default=None)
    approval_note = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class Policies(APIView):
    """The checkpoints of a project. POST imports a model by its path or a hub's name: at once, or as a job."""

    @extend_schema(responses={200: CheckpointSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = selectors.checkpoint_list(project_for(request.user, slug, Role.LEAD)).defer("manifest")
        return Response(CheckpointSerializer(rows.select_related("approved_by"), many=True).data)

    @extend_schema(request=ImportBody, responses={201: CheckpointSerializer, 202: JobStartedSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        form = filled(ImportForm(), sent(ImportBody(data=request.data)))
        made = services.checkpoint_import_start(
            project=project, created_by=cast(User, request.user), **form.cleaned_data
        )
        if isinstance(made, Job):
            return Response(JobStartedSerializer({"job": made.pk}).data, status=status.HTTP_202_ACCEPTED)
        return Response(CheckpointSerializer(made).data, status=status.HTTP_201_CREATED)


class PolicyLook(APIView):
    """Say what a model is and takes before it is imported; nothing is copied, loaded or fetched."""

    class OutputSerializer(serializers.Serializer[Any]):
        facts = serializers.DictField(source="facts.to_json")
        disk_free = serializers.IntegerField(help_text="Bytes.")
        fits_on_disk = serializers.BooleanField()

    @extend_schema(request=LookBody, responses={200: OutputSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        form = ImportForm()
        del form.fields["name"], form.fields["role"]
        path = filled(form, sent(LookBody(data=request.data))).cleaned_data["path"]
        return Response(self.OutputSerializer(services.model_look(path, project=project, by=_user(request))).data)


class PolicyAverage(APIView):
    """Average checkpoints that were trained from one into a new one, as a job."""

    class InputSerializer(BodySerializer):
        of = serializers.ListField(child=serializers.CharField(), help_text="Two checkpoints or more, by name.")
        by = serializers.ChoiceField(choices=tuple(BY), required=False, default="mean")
        keep = serializers.FloatField(
            required=False, default=1.0, help_text="Share of the way from their common start: above 0, at most 1."
        )
        name = serializers.CharField(max_length=100, help_text="Of the new checkpoint.")

    @extend_schema(request=InputSerializer, responses={202: JobStartedSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        job = average_start(project=project, created_by=_user(request), **given.validated_data)
        return Response(JobStartedSerializer({"job": job.pk}).data, status=status.HTTP_202_ACCEPTED)


class PolicyDetail(APIView):
    """One checkpoint."""

    @extend_schema(responses={200: CheckpointSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(CheckpointSerializer(checkpoint_for_read(request.user, slug, pk)).data)


class PolicyDefault(APIView):
    """Let sampling and new loops start from this checkpoint."""

    @extend_schema(request=None, responses={200: CheckpointSerializer})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        found = checkpoint_for_write(request.user, slug, pk)
        services.checkpoint_make_default(checkpoint=found)
        found.refresh_from_db()
        return Response(CheckpointSerializer(found).data)


class PolicyApproval(APIView):
    """Approve a checkpoint for use; DELETE withdraws the approval of the time that one saw."""

    class InputSerializer(BodySerializer):
        note = serializers.CharField(
            required=False, allow_blank=True, default="", help_text=f"≤ {NOTE_CHARS:,} letters."
        )

    @extend_schema(request=InputSerializer, responses={200: CheckpointSerializer, 400: BAD})
    def put(self, request: Request, slug: str, pk: int) -> Response:
        found = checkpoint_for_write(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        checkpoint_approve(checkpoint=found, note=given.validated_data["note"], by=_user(request), now=timezone.now())
        return Response(CheckpointSerializer(found).data)

    @extend_schema(
        parameters=[OpenApiParameter("seen", str, required=True, description="Its `approved_at`; a newer one stays.")],
        responses={200: CheckpointSerializer, 400: BAD},
    )
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        found = checkpoint_for_write(request.user, slug, pk)
        approval_withdraw(checkpoint=found, seen=request.query_params.get("seen", ""), by=_user(request))
        return Response(CheckpointSerializer(found).data)


def _user(request: Request) -> User:
    return cast(User, request.user)
