"""Sending a model in pieces by program: announced, sent, finished; it goes on where it stopped."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import BodySerializer
from apps.policies import uploads
from apps.projects.access import project_for
from apps.projects.models import Role

BAD = OpenApiResponse(description="One line says why.")


class ModelFileSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    size = serializers.IntegerField(source="n_bytes", help_text="Bytes.")
    have = serializers.IntegerField(help_text="Bytes that have arrived.")


class ModelUploadSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    files = ModelFileSerializer(many=True)
    left_out = serializers.ListField(
        child=serializers.CharField(), help_text="Files that no model needs, or that could run code."
    )
    path = serializers.CharField(allow_blank=True, help_text="What an import takes, once it was finished.")
    piece_bytes = serializers.SerializerMethodField(help_text="The most in one piece.")

    def get_piece_bytes(self, row: uploads.ModelUpload) -> int:
        del row
        return uploads.PIECE_BYTES


class ModelUploads(APIView):
    """The uploads that are not imported yet. POST announces one, or says how much of it is there."""

    class InputSerializer(BodySerializer):
        class AnnouncedSerializer(serializers.Serializer[Any]):
            name = serializers.CharField(max_length=200)
            size = serializers.IntegerField(min_value=0, max_value=2**62)

        name = serializers.CharField(max_length=100)
        files = AnnouncedSerializer(many=True)

    @extend_schema(responses={200: ModelUploadSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        return Response(ModelUploadSerializer(uploads.upload_list(project), many=True).data)

    @extend_schema(request=InputSerializer, responses={200: ModelUploadSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        sizes = {file["name"]: file["size"] for file in given.validated_data["files"]}
        upload = uploads.upload_start(project=project, name=given.validated_data["name"], sizes=sizes)
        return Response(ModelUploadSerializer(upload).data)


class ModelUpload(APIView):
    """Add the next piece of a file (the body); DELETE removes the upload, whole or not."""

    class QuerySerializer(serializers.Serializer[Any]):
        file = serializers.CharField(max_length=200)
        offset = serializers.IntegerField(min_value=0, max_value=2**62)

    @extend_schema(
        parameters=[
            OpenApiParameter("file", str, required=True),
            OpenApiParameter("offset", int, required=True, description="Where in the file the piece begins."),
        ],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: ModelFileSerializer,
            400: BAD,
            409: OpenApiResponse(description="It does not follow what has arrived: `have` bytes have."),
        },
    )
    def put(self, request: Request, slug: str, name: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        try:
            file = uploads.upload_piece(project=project, name=name, piece=request._request.body, **given.validated_data)
        except uploads.PieceMisplaced as error:
            return Response({"detail": str(error), "have": error.have}, status=error.http_status)
        return Response(ModelFileSerializer(file).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, name: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        uploads.upload_drop(project=project, name=name)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ModelUploadFinish(APIView):
    """Check a whole upload, and say by which path it is imported (POST policies/)."""

    class OutputSerializer(serializers.Serializer[Any]):
        path = serializers.CharField()

    @extend_schema(request=None, responses={200: OutputSerializer, 400: BAD})
    def post(self, request: Request, slug: str, name: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        path = uploads.upload_finish(project=project, name=name)
        return Response(self.OutputSerializer({"path": path}).data)
