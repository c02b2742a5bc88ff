"""Pages that belong to no app: health checks, the icon, the API page. Error pages are plain templates."""

from __future__ import annotations

from django.db import connection
from django.db.utils import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from apps.core import apidocs


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Report that the process responds."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Report that the database responds too; 503 if it does not, without giving the reason to strangers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError:
        return JsonResponse({"ready": False, "database": "unreachable"}, status=503)
    return JsonResponse({"ready": True})


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Describe the API for people: the same content as /api/schema/, rendered on the server."""
    return render(request, "core/api_docs.html", {"groups": apidocs.operations()})


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    return redirect(static("favicon.svg"), permanent=True)
