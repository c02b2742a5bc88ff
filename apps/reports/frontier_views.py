"""The frontier page: win rate or gold against KL, and every figure of it."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.json import dumps
from apps.projects.models import Project
from apps.reports import access, downloads, frontier_charts, frontier_words
from apps.reports.frontier import frontier_report, points_of


@login_required
@never_cache
@require_GET
def frontier(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    return render(request, "reports/frontier.html", _context(request, project))


def _context(request: HttpRequest, project: Project) -> dict[str, Any]:
    report = frontier_report(project=project)
    y = "gold" if request.GET.get("y") == "gold" and report["has_gold"] else "win"
    groups = [
        {
            "of": group,
            "name": frontier_words.name_of(group),
            "sentence": frontier_words.group_sentence(group, y) if at else "",  # the first one's stands on top
            "chart": frontier_charts.frontier(group, y=y, slug=project.slug),
            "points": [_shown(point) for point in points_of(group)],
        }
        for at, group in enumerate(report["groups"])
    ]
    return {
        "project": project,
        "heading": _("Is it better, and how far has it moved?"),
        "active": "reports",
        "report": report,
        "y": y,
        "sentence": frontier_words.frontier_sentence(report, y),
        "groups": groups,
        "version": _version(report),
        "made_at": timezone.now(),
        "download_query": f"?y={y}",
    }


def _version(report: dict[str, Any]) -> str:
    """Return a hash of the measurements: equal figures, equal hash."""
    return hashlib.sha256(dumps(report).encode()).hexdigest()[:12]


def _shown(point: dict[str, Any]) -> dict[str, Any]:
    rate, ended = point["win_rate_per_nat"], point["ended_at"]
    return point | {
        "points_per_nat": 100 * rate if rate is not None else None,
        "when": ended[:16].replace("T", " ") if ended else "",
    }


@login_required
@never_cache
@require_GET
def frontier_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """Every figure as a file: JSON, CSV or a self-contained page."""
    project = access.project_for_reports(person(request), slug)
    context = _context(request, project)
    name = f"{project.slug}.frontier.{form}"
    if form == "html":
        return downloads.page(request, name, "reports/_frontier.html", context)
    whole = context["report"] | {"version": context["version"], "made_at": context["made_at"].isoformat()}
    return downloads.answer(downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n", name, form)
