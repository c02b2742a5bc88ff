"""What a request of a desk says: which item, what of it, when, for how long; and what the desk is told back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from apps.projects.models import Project
from apps.projects.selectors import guideline_current, guideline_name
from prefloop.types import PrefloopError

_DIGITS = 18  # of an id: what is longer is none, and Python refuses to read thousands of digits


def asked_id(request: HttpRequest) -> int:
    return _number(request.POST.get("assignment", "")) or 0


def seconds_of(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86400 else None


def said_at(request: HttpRequest) -> datetime | None:
    """When something was said, by the page's clock."""
    try:
        moment = parse_datetime(request.POST.get("said_at", ""))
    except ValueError:
        return None
    return moment if moment is not None and timezone.is_aware(moment) else None


def wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def n_wanted(request: HttpRequest, most: int) -> int:
    """How many items the desk asks for (`n`); without a number, as many as it may hold."""
    wanted = _number(request.POST.get("n", ""))
    return most if wanted is None else min(wanted, most)


def had(request: HttpRequest) -> list[int]:
    """The items that the desk has already."""
    numbers = map(_number, request.POST.get("have", "").split(",")[:50])
    return [number for number in numbers if number is not None]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def guide_if_new(request: HttpRequest, project: Project, version: str | None = None) -> dict[str, str] | None:
    """The current guideline (its `version`, where it is known), if the page shows another one; else None."""
    version = guideline_name(project) if version is None else version
    if request.POST.get("guideline", version) == version:
        return None
    context = {"project": project, "guideline": guideline_current(project), "guideline_version": version}
    return {"version": version, "html": render_to_string("rankings/_guide.html", context)}


def refused(request: HttpRequest, error: PrefloopError, desk: str, slug: str) -> HttpResponse:
    """Say why, to a script, or on the page that is named."""
    if wants_json(request):
        return JsonResponse({"detail": _(str(error))}, status=getattr(error, "http_status", 400))
    messages.error(request, _(str(error)))
    return redirect(desk, slug=slug)


def said_why(request: HttpRequest, declared: Mapping[str, str]) -> str:
    picked = [declared[code] for code in request.POST.getlist("why") if code in declared]
    return " — ".join(part for part in ("; ".join(picked), request.POST.get("reason", "").strip()) if part)


def said_in_short(request: HttpRequest) -> list[str]:
    """The short reasons that were chosen: one a line, as the script sends them, or one a field."""
    return [line for text in request.POST.getlist("reasons") for line in text.splitlines() if line]
