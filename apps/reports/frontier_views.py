"""The frontier page: win rate or gold against KL, and every figure of it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.json import dumps
from apps.reports import access, frontier_charts, frontier_words
from apps.reports.frontier import frontier_report, points_of


@login_required
@never_cache
@require_GET
def frontier(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
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
    context = {
        "project": project,
        "active": "reports",
        "report": report,
        "y": y,
        "sentence": frontier_words.frontier_sentence(report, y),
        "groups": groups,
        "made_at": timezone.now(),
    }
    return render(request, "reports/frontier.html", context)


def _shown(point: dict[str, Any]) -> dict[str, Any]:
    rate, ended = point["win_rate_per_nat"], point["ended_at"]
    return point | {
        "points_per_nat": 100 * rate if rate is not None else None,
        "when": ended[:16].replace("T", " ") if ended else "",
    }


@login_required
@never_cache
@require_GET
def frontier_json(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    report = frontier_report(project=project)
    response = HttpResponse(dumps(report) + "\n", content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}.frontier.json"'
    return response
