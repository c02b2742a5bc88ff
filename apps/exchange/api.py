"""Importing records by program: a body of JSON Lines, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.middleware import large_body
from apps.exchange import access, uploads
from apps.exchange.selectors import batch_counts, batch_notes
from apps.exchange.services import import_file
from apps.prompts.models import ImportBatch
from prefloop.records import RecordsError
from prefloop.types import PrefloopError

_PIECE = 1 << 16


class CompressedBody(PrefloopError):
    http_status = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE

    def __init__(self) -> None:
        super().__init__("send the body uncompressed, without Content-Encoding")


class BroughtSerializer(serializers.Serializer[Any]):
    """What an import added."""

    batch = serializers.IntegerField()
    n_records = serializers.IntegerField(help_text="new ones")
    n_added = serializers.IntegerField(help_text="existing records that got new labels")
    n_unchanged = serializers.IntegerField(help_text="existing records with the same content")
    n_completions = serializers.IntegerField()
    n_comparisons = serializers.IntegerField()
    n_same_answers = serializers.IntegerField(help_text="comparisons of two equal answers, which get no label")
    n_gold = serializers.IntegerField()
    n_votes = serializers.IntegerField()
    n_verdicts = serializers.IntegerField()
    n_overrides = serializers.IntegerField()
    n_scores = serializers.IntegerField()
    n_rankings = serializers.IntegerField()
    n_ratings = serializers.IntegerField(help_text="of single answers, by a rubric")
    n_flags = serializers.IntegerField(help_text="of pairs that need a lead's look")
    notes = serializers.ListField(child=serializers.CharField(), help_text="what was left out, with counts")


@large_body
class Records(APIView):
    """Import records. Known records are left unchanged, and new labels of known records are added.

    If one line is bad, nothing is imported.
    """

    @extend_schema(
        request={"application/x-ndjson": OpenApiTypes.STR},
        responses={
            201: BroughtSerializer,
            200: OpenApiResponse(BroughtSerializer, description="The file had nothing new."),
            400: OpenApiResponse(description="detail, and errors by line; nothing was imported."),
            413: OpenApiResponse(description="Too large for a request."),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        user = request.user
        project = access.project_for_exchange(user, slug)
        assert isinstance(user, User)  # noqa: S101 (the gate lets nobody else through)
        upload = uploads.upload_create(
            project=project, name="api.jsonl", chunks=body_in_pieces(request), created_by=user, at_once=True
        )
        try:
            batch = import_file(
                project=project,
                path=uploads.upload_path(upload),
                format="records",
                name="api",
                created_by=user,
                now=timezone.now(),
                max_records=uploads.MAX_RECORDS,
            )
        except RecordsError as error:
            return bad_lines(error)
        except PrefloopError as error:
            detail = str(error).replace(upload.token, "the body")
            return Response({"detail": detail}, status=getattr(error, "http_status", status.HTTP_400_BAD_REQUEST))
        finally:
            uploads.upload_drop(upload=upload)
        return brought(batch)


def bad_lines(error: RecordsError) -> Response:
    """Answer with what is wrong, by line."""
    errors = [{"line": e.line, "message": e.message} for e in error.errors]
    body = {"detail": str(error), "errors": errors, "stopped": error.stopped}
    return Response(body, status=status.HTTP_400_BAD_REQUEST)


def brought(batch: ImportBatch) -> Response:
    """Answer with what an import added: 201, or 200 where it had nothing new."""
    counts = {"batch": batch.pk, "notes": batch_notes(batch)} | batch_counts(batch)
    made = status.HTTP_201_CREATED if batch.n_records or batch.added else status.HTTP_200_OK
    return Response(BroughtSerializer(counts).data, status=made)


def body_in_pieces(request: Request) -> Iterator[bytes]:
    """Read the body in pieces, never whole: `upload_create` stops at its limit."""
    http = request._request
    if http.headers.get("Content-Encoding", "identity") != "identity":
        raise CompressedBody
    length = http.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length) > uploads.MAX_BYTES:
        raise uploads.UploadTooLarge
    while piece := http.read(_PIECE):
        yield piece
