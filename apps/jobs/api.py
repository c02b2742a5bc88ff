"""Jobs by program: how far they are, cancelling them, and starting again those that ended badly."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.jobs import access, selectors, services
from apps.jobs.clock import database_now
from apps.jobs.models import Job, JobState
from apps.jobs.waiting import why_waiting
from apps.projects.access import project_for

LISTED = 200


class JobSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=JobState.choices)
    step = serializers.IntegerField()
    n_steps = serializers.IntegerField()
    message = serializers.CharField(allow_blank=True)
    failure_class = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    started_by = serializers.CharField(source="started_by.username", allow_null=True, default=None)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class OneJobSerializer(JobSerializer):
    why_waiting = serializers.SerializerMethodField(
        help_text="Why no worker that runs now will take it up; empty where it only waits for its turn."
    )

    def get_why_waiting(self, job: Job) -> str:
        return why_waiting(job, now=database_now())


class JobStartedSerializer(serializers.Serializer[Any]):
    job = serializers.IntegerField(help_text="See projects/…/jobs/.")


class Jobs(APIView):
    """The latest jobs of a project, open ones first; of annotators, those that they started."""

    @extend_schema(responses={200: JobSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = access.jobs_for(request.user).filter(project=project_for(request.user, slug))
        return Response(JobSerializer(selectors.recent_jobs(rows, limit=LISTED), many=True).data)


class JobDetail(APIView):
    """One job, and why it waits if nothing that runs now will take it up."""

    @extend_schema(responses={200: OneJobSerializer})
    def get(self, request: Request, slug: str, job_id: int) -> Response:
        _project, job = access.job_for_read(request.user, slug, job_id)
        return Response(OneJobSerializer(job).data)


class JobCancel(APIView):
    """Cancel a job: at once, or as soon as its worker has left it."""

    @extend_schema(request=None, responses={200: JobSerializer})
    def post(self, request: Request, slug: str, job_id: int) -> Response:
        _project, job = access.job_for_write(request.user, slug, job_id)
        services.job_cancel(job=job, by=cast(User, request.user))
        job.refresh_from_db()
        return Response(JobSerializer(job).data)


class JobRetry(APIView):
    """Queue the work of a failed or cancelled job again, as a new job."""

    @extend_schema(
        request=None,
        responses={201: JobSerializer, 400: OpenApiResponse(description="The job has not failed or been cancelled.")},
    )
    def post(self, request: Request, slug: str, job_id: int) -> Response:
        _project, job = access.job_for_write(request.user, slug, job_id)
        made = services.job_retry(job=job, by=cast(User, request.user))
        return Response(JobSerializer(made).data, status=status.HTTP_201_CREATED)
