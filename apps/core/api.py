"""Errors of the API: always JSON with one clear `detail`."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from prefloop.types import PrefloopError


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn an error that the caller can correct into 400 with its one line; leave the rest to DRF."""
    if isinstance(error, PrefloopError):
        http_status = getattr(error, "http_status", status.HTTP_400_BAD_REQUEST)
        return Response({"detail": str(error)}, status=http_status)
    if isinstance(error, Http404 | NotFound):  # which of the gates said no is nobody's business
        return Response({"detail": "Not found."}, status=status.HTTP_404_NOT_FOUND)
    return drf_exception_handler(error, context)
