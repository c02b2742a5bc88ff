"""What the API takes and how it refuses: always JSON that says what to correct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from prefloop.types import PrefloopError


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn an error that the caller can correct into 400 with its one line; leave the rest to DRF."""
    if isinstance(error, PrefloopError):
        http_status = getattr(error, "http_status", status.HTTP_400_BAD_REQUEST)
        code = {"code": error.code} if hasattr(error, "code") else {}
        return Response({"detail": str(error), **code}, status=http_status)
    if isinstance(error, Http404 | NotFound):  # which of the gates said no is nobody's business
        return Response({"detail": "Not found."}, status=status.HTTP_404_NOT_FOUND)
    return drf_exception_handler(error, context)


# No docstring: the API's description would repeat it for each body.
class BodySerializer(serializers.Serializer[Any]):
    def to_internal_value(self, data: Any) -> Any:
        """Refuse fields that the body does not have, since a misspelt setting would be left out unsaid."""
        if isinstance(data, Mapping) and (unknown := sorted({*map(str, data)} - self.fields.keys())):
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {name: [f"There is no such field; there are {known}."] for name in unknown}
            )
        return super().to_internal_value(data)
