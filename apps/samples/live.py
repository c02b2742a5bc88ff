"""Pages with a live part: asked with `?since=`, they return only that part, or 204 if nothing changed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def live(
    request: HttpRequest,
    *,
    page: str,
    part: str,
    context: dict[str, Any],
    version: str,
    is_done: bool = False,
    status: int = 200,
) -> HttpResponse:
    """Render `page`, or for a live region its `part`; `is_done` tells the region to stop polling."""
    since = request.GET.get("since")
    if since is not None and since == version:
        response = HttpResponse(status=204)
    else:
        template = page if since is None else part
        response = render(request, template, context | {"version": version, "is_done": is_done}, status=status)
    response["X-Since"] = version
    if is_done:
        response["X-Poll"] = "stop"
    return response
