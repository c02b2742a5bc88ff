"""The page on reward models, its files, and the same for programs."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.json import dumps
from apps.projects.models import Project
from apps.reports import access, charts, downloads
from apps.reports.reward_models import Asked, NoSuchPart, reward_models_report


@login_required
@never_cache
@require_GET
def reward_models(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    report = _report(request, project)
    soft = [model for model in report["models"] if model["calibration"]]
    names = list(dict.fromkeys(row["name"] for model in report["models"] for row in model["slices"]))
    context: dict[str, Any] = {
        "project": project,
        "active": "reports",
        "heading": _("How good are the reward models?"),
        "report": report,
        "chart": charts.calibration(soft) if soft else None,
        "slice_names": names,
        "slice_rows": [(model["name"], _by_name(model["slices"], names)) for model in report["models"]],
        "bench": [model for model in report["models"] if model["reward_bench"]],
        "asked_query": f"?{urlencode(kept)}" if (kept := _kept(report)) else "",
    }
    return render(request, "reports/reward_models.html", context)


@login_required
@never_cache
@require_GET
def reward_models_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    report = _report(request, project)
    text = downloads.table_of(report) if form == "csv" else dumps(report) + "\n"
    return downloads.answer(text, f"{project.slug}.reward-models.{form}", form)


def _report(request: HttpRequest, project: Project) -> dict[str, Any]:
    try:
        asked = Asked(set=request.GET.get("set", ""), key=request.GET.get("key", ""))
        return reward_models_report(project, asked)
    except NoSuchPart as error:
        raise Http404(str(error)) from error


def _kept(report: dict[str, Any]) -> dict[str, str]:
    return {name: cast(str, report[name]) for name in ("set", "key") if report[name]}


def _by_name(slices: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any] | None]:
    found = {row["name"]: row for row in slices}
    return [found.get(name) for name in names]
