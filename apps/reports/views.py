"""The report pages: a sentence to act on, charts that print, the tables beside them, and the pairs behind a figure."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.json import dumps
from apps.projects.models import Project
from apps.reports import access, charts, figures, selectors, services, words
from prefloop.types import OUTCOMES

PAGE = 25
_CODES: dict[str, int] = {outcome: code for code, outcome in enumerate(OUTCOMES)}


@login_required
@never_cache
@require_GET
def agreement(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    found = services.agreement_for_page(project=project, now=timezone.now())
    report = found.report
    path = reverse("reports:agreement", args=[project.slug])
    judges = []
    for judge in report["judges"]:
        drawn, names, rows = charts.confusion(judge, path=path)
        judges.append({"report": judge, "matrix": drawn, "words": names, "rows": rows})
    has_truth = found.baselines.n_truth > 0
    context = {
        "project": project,
        "active": "reports",
        "report": report,
        "sentence": words.agreement_sentence(report),
        "ladder": charts.ladder(report, found.baselines) if has_truth else None,
        "baselines": found.baselines,
        "judges": judges,
        "bias_charts": charts.bias_charts(found.biases, found.truth_longer) if report["judges"] else [],
        "biases": found.biases,
        "truth_longer": found.truth_longer,
        "made_at": found.made_at,
        "n_bootstrap": services.N_BOOTSTRAP,
        **_disagreements(request, project, found),
    }
    return render(request, "reports/agreement.html", context)


def _disagreements(request: HttpRequest, project: Project, found: services.Agreement) -> dict[str, Any]:
    """The pairs behind a judge's mistakes, or behind one cell of its confusion."""
    best = words.best_judge(found.report)
    name = request.GET.get("judge") or (best["name"] if best else "")
    truth, said = request.GET.get("truth", ""), request.GET.get("said", "")
    truth = truth if truth in _CODES else ""
    said = said if said in _CODES else ""
    rows = figures.disagreements(found.columns, name, truth_code=_CODES.get(truth), said_code=_CODES.get(said))
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    ids = selectors.comparison_ids(project)
    shown = [row for row in page if row.item < len(ids)]
    excerpts = selectors.excerpts(project, [int(ids[row.item]) for row in shown])
    return {
        "chosen": name,
        "truth": truth,
        "said": said,
        "n_disagreements": len(rows),
        "page": page,
        "disagreements": [
            (excerpt, selectors.outcome_name(row.truth), selectors.outcome_name(row.said), row)
            for row in shown
            if (excerpt := excerpts.get(int(ids[row.item]))) is not None
        ],
    }


@login_required
@never_cache
@require_GET
def agreement_json(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    return _download(services.agreement_report(project=project), f"{project.slug}.agreement.json")


@login_required
@never_cache
@require_GET
def leaderboard(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    sources = selectors.source_list(project)
    source = request.GET.get("source") or selectors.ALL
    if source not in {selectors.ALL, selectors.HUMAN, *sources}:
        raise Http404("no such source")
    report = services.leaderboard_report(project=project, source=source)
    context = {
        "project": project,
        "active": "reports",
        "report": report,
        "sentence": words.leaderboard_sentence(report),
        "chart": charts.strengths(report),
        "pairs": [_with_shares(pair) for pair in report["pairs"]],
        "source": source,
        "sources": sources,
        "made_at": timezone.now(),
    }
    return render(request, "reports/leaderboard.html", context)


def _with_shares(pair: dict[str, Any]) -> dict[str, Any]:
    """Add where the parts of a bar 100 wide begin; as text, so that no language puts a comma into them."""
    n = pair["wins"] + pair["ties"] + pair["losses"]
    wins, ties = 100 * pair["wins"] / n, 100 * pair["ties"] / n
    bar = {"wins": wins, "ties": ties, "losses": 100 - wins - ties, "ties_at": wins, "losses_at": wins + ties}
    return pair | {"n": n, "bar": {key: f"{value:.2f}" for key, value in bar.items()}}


@login_required
@never_cache
@require_GET
def leaderboard_json(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    source = request.GET.get("source") or selectors.ALL
    try:
        report = services.leaderboard_report(project=project, source=source)
    except selectors.NoSuchSource as error:
        raise Http404(str(error)) from error
    return _download(report, f"{project.slug}.leaderboard.json")


def _download(report: dict[str, Any], name: str) -> HttpResponse:
    response = HttpResponse(dumps(report) + "\n", content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
