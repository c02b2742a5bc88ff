"""Demo projects by program."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.dashboard.demos import demo_begin
from apps.projects.access import may_create_project
from prefloop.demos import DEMOS


class DemoCreate(APIView):
    """Make a demo project, where the operator allows projects to this person and there is none with its address."""

    class OutputSerializer(serializers.Serializer[Any]):
        slug = serializers.CharField()
        job = serializers.IntegerField(help_text="The first of its set-up.")

    @extend_schema(
        request=None,
        responses={201: OutputSerializer, 400: OpenApiResponse(description="There is a project with its address.")},
    )
    def post(self, request: Request, world: str) -> Response:
        if world not in DEMOS or not may_create_project(request.user):
            raise Http404
        job = demo_begin(DEMOS[world], owner=cast(User, request.user))
        return Response(self.OutputSerializer({"slug": world, "job": job.pk}).data, status=status.HTTP_201_CREATED)
