"""Uploading a model from a browser: announced, sent in pieces, finished. Answers are JSON."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from apps.accounts.views import person
from apps.policies import uploads
from apps.projects.access import project_for
from apps.projects.models import Role
from prefloop.types import PrefloopError


def _refused(error: PrefloopError) -> JsonResponse:
    have = {"have": error.have} if isinstance(error, uploads.PieceMisplaced) else {}
    return JsonResponse({"detail": str(error)} | have, status=getattr(error, "http_status", 400))


@login_required
@never_cache
@require_POST
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Announce the files: `{"name": …, "files": [{"name", "size"}]}`. Says how much of each is there already."""
    project = project_for(person(request), slug, Role.ENGINEER)
    try:
        asked: Any = json.loads(request.body)
        name, sizes = str(asked["name"]), {str(file["name"]): int(file["size"]) for file in asked["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return JsonResponse({"detail": "send a name, and files with their names and sizes"}, status=400)
    try:
        upload = uploads.upload_start(project=project, name=name, sizes=sizes)
    except PrefloopError as error:
        return _refused(error)
    files = [{"name": file.name, "size": file.n_bytes, "have": file.have} for file in upload.files]
    return JsonResponse({"files": files, "left_out": list(upload.left_out), "piece_bytes": uploads.PIECE_BYTES})


@login_required
@never_cache
@require_POST
def piece(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Take the next piece of a file: the body, with `file` and `offset` in the query."""
    project = project_for(person(request), slug, Role.ENGINEER)
    offset = request.GET.get("offset", "")
    if not (offset.isascii() and offset.isdigit() and len(offset) < 19):
        return JsonResponse({"detail": "offset must be a whole number of bytes"}, status=400)
    try:
        file = uploads.upload_piece(
            project=project, name=name, file=request.GET.get("file", ""), offset=int(offset), piece=request.body
        )
    except PrefloopError as error:
        return _refused(error)
    return JsonResponse({"have": file.have})


@login_required
@never_cache
@require_POST
def finish(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Check the whole upload. Says where to go on: the import page with its path filled in."""
    project = project_for(person(request), slug, Role.ENGINEER)
    try:
        path = uploads.upload_finish(project=project, name=name)
    except PrefloopError as error:
        return _refused(error)
    query = urlencode({"path": path, "name": name})
    return JsonResponse({"next": f"{reverse('policies:import', args=[slug])}?{query}"})


@login_required
@never_cache
@require_POST
def drop(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Remove an upload, whole or not."""
    project = project_for(person(request), slug, Role.ENGINEER)
    try:
        uploads.upload_drop(project=project, name=name)
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The upload %(name)s is removed.") % {"name": name})
    return redirect("policies:import", slug=slug)
