"""The Data page by program: files that wait, from here or from a hub, importing them, and exports."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope, User
from apps.core.api import BodySerializer
from apps.core.middleware import large_body
from apps.exchange import access, downloads, exports, selectors, uploads
from apps.exchange.api import BroughtSerializer, bad_lines, body_in_pieces, brought
from apps.exchange.fetching import hub_fetch_start
from apps.exchange.files import KINDS
from apps.exchange.models import Upload
from apps.jobs.api import JobStartedSerializer
from apps.jobs.models import Job
from apps.prompts.models import ImportBatch
from prefloop.formats import Mapping
from prefloop.records import RecordsError

BAD = OpenApiResponse(description="One line says why nothing was done.")
SHAPES = {shape.name: shape for shape in exports.SHAPES}
MappingBody: type[serializers.Serializer[Any]] = type(
    "MappingInput",
    (BodySerializer,),
    {
        item.name: serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)
        for item in fields(Mapping)
    },
)


class UploadSerializer(serializers.Serializer[Any]):
    token = serializers.CharField()
    name = serializers.CharField()
    n_bytes = serializers.IntegerField()
    job = serializers.IntegerField(source="job_id", allow_null=True, help_text="That fetches or imports it.")
    state = serializers.CharField(source="job.state", default="waiting", help_text="Of the job.")
    created_at = serializers.DateTimeField()


class PreviewSerializer(UploadSerializer):
    """A waiting file, with what it looks like while no job works on it."""

    format = serializers.CharField(allow_blank=True)
    columns = serializers.ListField(child=serializers.CharField(), help_text="Of a table.")
    mapping = serializers.DictField(child=serializers.CharField(allow_blank=True), help_text="As set, or guessed.")
    problem = serializers.CharField(allow_blank=True, help_text="The file as a whole can't be read.")
    # a field of this name hides an attribute that only bodies use
    errors = serializers.ListField(  # type: ignore[assignment]
        child=serializers.DictField(), help_text="By line: line, message."
    )
    more_errors = serializers.BooleanField()
    notes = serializers.ListField(child=serializers.CharField(), help_text="What would be left out, with counts.")
    can_import = serializers.BooleanField()


class ImportSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    format = serializers.CharField()
    n_records = serializers.IntegerField()
    n_unchanged = serializers.IntegerField()
    by = serializers.CharField(source="created_by.username", allow_null=True, default=None)
    created_at = serializers.DateTimeField()


@large_body
class Uploads(APIView):
    """The files that wait. POST sends one: the body, whose name (`name`, with its suffix) says how it is read."""

    class QuerySerializer(serializers.Serializer[Any]):
        name = serializers.CharField(max_length=200)

    @extend_schema(responses={200: UploadSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_exchange(request.user, slug)
        return Response(UploadSerializer(uploads.upload_list(project), many=True).data)

    @extend_schema(
        parameters=[OpenApiParameter("name", str, required=True)],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={201: UploadSerializer, 400: BAD, 413: OpenApiResponse(description="Too large for a request.")},
    )
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_exchange(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        made = uploads.upload_create(
            project=project,
            name=given.validated_data["name"],
            chunks=body_in_pieces(request),
            created_by=cast(User, request.user),
        )
        return Response(UploadSerializer(made).data, status=status.HTTP_201_CREATED)


class HubUploads(APIView):
    """Fetch a data set from a hub; it waits as a file then."""

    class InputSerializer(BodySerializer):
        address = serializers.CharField(max_length=1000)

    @extend_schema(request=InputSerializer, responses={202: UploadSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for_exchange(request.user, slug)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made = hub_fetch_start(
            project=project, address=given.validated_data["address"].strip(), started_by=cast(User, request.user)
        )
        return Response(UploadSerializer(made).data, status=status.HTTP_202_ACCEPTED)


class UploadDetail(APIView):
    """A waiting file and what it looks like: format, columns, what is wrong by line. DELETE removes it."""

    @extend_schema(responses={200: PreviewSerializer})
    def get(self, request: Request, slug: str, token: str) -> Response:
        return Response(_shown(access.upload_for(request.user, slug, token)))

    @extend_schema(responses={204: None, 400: BAD})
    def delete(self, request: Request, slug: str, token: str) -> Response:
        uploads.upload_remove(upload=access.upload_for(request.user, slug, token))
        return Response(status=status.HTTP_204_NO_CONTENT)


class UploadMapping(APIView):
    """Say which column of a table holds what; DELETE goes back to the format that is recognised."""

    @extend_schema(request=MappingBody, responses={200: PreviewSerializer, 400: BAD})
    def put(self, request: Request, slug: str, token: str) -> Response:
        found = access.upload_for(request.user, slug, token)
        given = MappingBody(data=request.data)
        given.is_valid(raise_exception=True)
        uploads.upload_map(upload=found, mapping=Mapping(**given.validated_data))
        return Response(_shown(found))

    @extend_schema(responses={200: PreviewSerializer})
    def delete(self, request: Request, slug: str, token: str) -> Response:
        found = access.upload_for(request.user, slug, token)
        uploads.upload_map(upload=found, mapping=None)
        return Response(_shown(found))


class UploadImport(APIView):
    """Import a waiting file: at once where it is small, else as a job."""

    @extend_schema(
        request=None,
        responses={
            201: BroughtSerializer,
            200: OpenApiResponse(BroughtSerializer, description="The file had nothing new."),
            202: JobStartedSerializer,
            400: OpenApiResponse(description="detail, and errors by line; nothing was imported."),
        },
    )
    def post(self, request: Request, slug: str, token: str) -> Response:
        found = access.upload_for(request.user, slug, token)
        try:
            done = uploads.upload_import(upload=found, started_by=cast(User, request.user), now=timezone.now())
        except RecordsError as error:
            return bad_lines(error)
        if isinstance(done, Job):
            return Response(JobStartedSerializer({"job": done.pk}).data, status=status.HTTP_202_ACCEPTED)
        return brought(done)


class Imports(APIView):
    """The latest imports, each of which is whole."""

    @extend_schema(responses={200: ImportSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = selectors.import_list(access.project_for_data(request.user, slug))
        return Response(ImportSerializer(rows, many=True).data)


class ImportDetail(APIView):
    """What an import added."""

    @extend_schema(responses={200: BroughtSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        project = access.project_for_data(request.user, slug)
        batch = ImportBatch.objects.filter(project=project, ready=True, pk=pk).first()
        if batch is None:
            raise Http404
        said = {"batch": batch.pk, "notes": selectors.batch_notes(batch)} | selectors.batch_counts(batch)
        return Response(BroughtSerializer(said).data)


class Exports(APIView):
    """The formats in which labels are exported."""

    class OutputSerializer(serializers.Serializer[Any]):
        name = serializers.CharField()
        says = serializers.CharField()
        trainer = serializers.CharField(allow_blank=True)

    @extend_schema(responses={200: OutputSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        access.project_for_data(request.user, slug)
        return Response(self.OutputSerializer(exports.SHAPES, many=True).data)


class Export(APIView):
    """An export, line by line. Whoever gets it has seen its labels, and does not vote blind on them any more."""

    scope = Scope.MANAGE  # all that a project holds: a token made to read reports does not get it

    @extend_schema(
        parameters=[
            OpenApiParameter("labels", str, enum=tuple(exports.LABELS), description="Not of records and prompts."),
            OpenApiParameter("criterion", str, description="Labels by this named criterion; not of records."),
            OpenApiParameter("as", str, enum=tuple(KINDS), description="Records are always JSON Lines."),
        ],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/zip"): OpenApiTypes.BINARY,
            400: BAD,
        },
    )
    def get(self, request: Request, slug: str, shape: str) -> HttpResponseBase:
        project = access.project_for_exchange(request.user, slug)
        if shape not in SHAPES:
            raise Http404
        asked = request.query_params
        if (kind := asked.get("as", "jsonl")) not in KINDS:
            raise exports.BadExport(f"as is one of {', '.join(KINDS)}, not {kind!r}")
        return downloads.export_response(
            project=project,
            shape=shape,
            labels=asked.get("labels", "effective"),
            criterion=asked.get("criterion", ""),
            kind=kind,
            reader=cast(User, request.user),
        )


def _shown(upload: Upload) -> dict[str, Any]:
    busy = upload.job is not None
    found = uploads.Preview() if busy else uploads.upload_preview(upload)
    said = {name: getattr(found, name) for name in ("format", "columns", "problem", "more_errors", "notes")}
    said |= {
        "mapping": asdict(found.mapping),
        "errors": [{"line": error.line, "message": error.message} for error in found.errors],
        "can_import": not busy and found.can_import,
    }
    return UploadSerializer(upload).data | said
