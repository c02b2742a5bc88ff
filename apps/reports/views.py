"""The report pages: a summary sentence, printable charts with tables, and the pairs behind a figure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.core.json import dumps
from apps.jobs.models import JobState
from apps.projects.access import has_role
from apps.projects.models import Project, Role
from apps.projects.selectors import NoSuchCriterion, criteria_of, criterion_named
from apps.reports import access, charts, downloads, figures, selectors, services, words
from apps.samples.exposure import labels_shown
from apps.training.loops.meeting_forms import MeetingForm
from prefloop.stats.board_win_rates import HALF_WIDTH
from prefloop.types import OUTCOME_CODES

PAGE = 25
MOST_PAIRS = 200  # of models on the page; the files have all
WIDTHS = (1, 2, 3, 5, 10)  # per cent


@login_required
@never_cache
@require_GET
def reports(request: HttpRequest, slug: str) -> HttpResponse:
    """Redirect to the first report, on agreement."""
    project = access.project_for_reports(person(request), slug)
    return redirect("reports:agreement", slug=project.slug)


@login_required
@never_cache
@require_GET
def agreement(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    found = _agreement(request, project)
    return render(request, "reports/agreement.html", _agreement_context(request, project, found, is_page=True))


@login_required
@never_cache
@require_GET
def agreement_slices(request: HttpRequest, slug: str) -> HttpResponse:
    """The part of the page that reads every comparison's metadata, loaded separately."""
    project = access.project_for_reports(person(request), slug)
    found = _agreement(request, project)
    return render(request, "reports/_slices.html", _slices(request, project, found))


def _unchosen(request: HttpRequest) -> bool:
    return request.GET.get("votes") == services.UNCHOSEN


def _criterion(request: HttpRequest, project: Project) -> str:
    try:
        return criterion_named(project, request.GET.get("criterion", ""))
    except NoSuchCriterion as error:
        raise Http404(str(error)) from error


def _agreement(request: HttpRequest, project: Project) -> services.Agreement:
    """The report of the votes that the address asks for, by the criterion that it names."""
    criterion, unchosen = _criterion(request, project), _unchosen(request)
    return services.agreement_for_page(project=project, now=timezone.now(), criterion=criterion, unchosen=unchosen)


def _agreement_context(
    request: HttpRequest, project: Project, found: services.Agreement, *, is_page: bool = False
) -> dict[str, Any]:
    report, base, biases = found.report, figures.baselines(found.report), figures.biases(found.report)
    path = reverse("reports:agreement", args=[project.slug])
    asked = _asked(found)
    judges = []
    for judge in report["judges"]:
        drawn, names, rows = charts.confusion(judge, path=path, kept=asked)
        use = words.judge_use(judge, base.ceiling.value if base.ceiling else None)
        judges.append({"report": judge, "matrix": drawn, "words": names, "rows": rows, "use": use})
    soft = [judge for judge in report["judges"] if judge["calibration"]]
    return {
        "project": project,
        "heading": _("Can the judges be trusted?"),
        "active": "reports",
        "report": report,
        "sentence": words.agreement_sentence(report),
        "ladder": charts.ladder(report, base) if base.n_truth else None,
        "baselines": base,
        "judges": judges,
        "strengths": _strengths(report),
        "epsilon": report["judges"][0]["alternative_annotator"]["epsilon"] if judges else None,
        "bias_charts": charts.bias_charts(biases, report) if judges else [],
        "biases": biases,
        "own": [judge for judge in report["judges"] if judge["self_preference"]],
        "truth_longer": base.truth_longer,
        "soft": soft,
        "calibration": charts.calibration(soft) if soft else None,
        "judge_pairs": report["judge_pairs"],
        "judges_chart": charts.judges_with_judges(report["judge_pairs"]) if report["judge_pairs"] else None,
        "overrides": [(o, charts.override_reasons(o) if o.reasons else None) for o in found.overrides],
        "overrides_chart": charts.override_rates(found.overrides) if found.overrides else None,
        "unchosen": found.unchosen,
        "n_chosen": found.n_chosen,
        "criteria": criteria_of(project),
        "criterion": found.criterion,
        "asked_query": f"?{urlencode(asked)}" if asked else "",
        "version": found.version,
        "made_at": found.made_at,
        "n_bootstrap": services.N_BOOTSTRAP,
        **_over_time(report, found),
        **(_slices(request, project, found, is_page=is_page) if judges and base.n_truth else {}),
        **_disagreements(request, project, found),
    }


def _strengths(report: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any] | None]]]:
    """Each strength with the figures of the judges, in the report's order of judges."""
    rows = report["strength"]["strengths"] if report["strength"] else []
    by_name = [(row, {judge["name"]: judge for judge in row["judges"]}) for row in rows]
    return [(row, [said.get(judge["name"]) for judge in report["judges"]]) for row, said in by_name]


def _asked(found: services.Agreement) -> dict[str, str]:
    """What the address says of the report, for links that keep it."""
    said = {"criterion": found.criterion, "votes": services.UNCHOSEN if found.unchosen else ""}
    return {key: value for key, value in said.items() if value}


def _over_time(report: dict[str, Any], found: services.Agreement) -> dict[str, Any]:
    """The accuracy of each judge round by round, and version by version."""
    rounds = found.columns.rounds
    spoke = [judge for judge in report["judges"] if judge["by_round"]]
    return {
        "rounds": spoke,
        "rounds_chart": charts.drift(spoke, rounds) if len(rounds) > 1 and spoke else None,
        "versions": words.versions(report),
    }


def _slices(
    request: HttpRequest, project: Project, found: services.Agreement, *, is_page: bool = False
) -> dict[str, Any]:
    """Each judge's agreement in each slice of the comparisons, by the metadata key in the address."""
    keys = selectors.slice_keys(found.comparison_ids)
    key = request.GET.get("slice", "")
    key = key if key in keys else (keys[0] if keys else "")
    if not key:
        return {"slice_keys": []}
    if is_page and "slice" not in request.GET:
        at = reverse("reports:agreement-slices", args=[project.slug])
        asked = _asked(found)
        return {"slice_keys": keys, "slices_at": at + (f"?{urlencode(asked)}" if asked else "")}
    split = services.slice_report(found, selectors.slices(project, key, found.comparison_ids))
    overall = {judge["name"]: judge["accuracy"] for judge in found.report["judges"]}
    return {
        "asked": _asked(found),
        "slice_keys": keys,
        "slice_key": key,
        "slices": [
            (part, charts.groups(part["slices"], title=part["judge"], overall=overall[part["judge"]]))
            for part in split
            if part["slices"]
        ],
    }


def _disagreements(request: HttpRequest, project: Project, found: services.Agreement) -> dict[str, Any]:
    """The pairs behind a judge's mistakes, or behind one cell of its confusion."""
    best = words.best_judge(found.report)
    name = request.GET.get("judge") or (best["name"] if best else "")
    truth, said = request.GET.get("truth", ""), request.GET.get("said", "")
    truth = truth if truth in OUTCOME_CODES else ""
    said = said if said in OUTCOME_CODES else ""
    rows = figures.disagreements(
        found.columns, name, truth_code=OUTCOME_CODES.get(truth), said_code=OUTCOME_CODES.get(said)
    )
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    ids = found.comparison_ids
    excerpts = selectors.excerpts(project, [int(ids[row.item]) for row in page])
    labels_shown(request, excerpts)
    return {
        "chosen": name,
        "truth": truth,
        "said": said,
        "n_disagreements": len(rows),
        "page": page,
        "disagreements": [
            (excerpt, selectors.outcome_name(row.truth), selectors.outcome_name(row.said), row)
            for row in page
            if (excerpt := excerpts.get(int(ids[row.item]))) is not None
        ],
    }


@login_required
@never_cache
@require_GET
def agreement_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """The whole report as a file: JSON, CSV or a self-contained page."""
    project = access.project_for_reports(person(request), slug)
    now, name = timezone.now(), f"{project.slug}.agreement.{form}"
    if form == "html":
        found = _agreement(request, project)
        return downloads.page(request, name, "reports/_agreement.html", _agreement_context(request, project, found))
    criterion, unchosen = _criterion(request, project), _unchosen(request)
    whole = services.agreement_whole(project=project, now=now, criterion=criterion, unchosen=unchosen)
    return downloads.answer(downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n", name, form)


@login_required
@never_cache
@require_GET
def leaderboard(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    context = _board_context(request, project)
    if has_role(person(request), project, Role.ENGINEER):
        context["meeting"] = MeetingForm(project)
    return render(request, "reports/leaderboard.html", context)


def _board_context(request: HttpRequest, project: Project) -> dict[str, Any]:
    criterion = _criterion(request, project)
    sources = selectors.source_list(project, criterion)
    source = request.GET.get("source") or selectors.ALL
    if source not in {selectors.ALL, selectors.HUMAN, *sources}:
        raise Http404("no such source")
    width = _half_width(request.GET.get("width", ""))
    style = request.GET.get("style") == "1"
    board = services.leaderboard_for_page(
        project=project,
        now=timezone.now(),
        source=source,
        judge=request.GET.get("judge", ""),
        half_width=width,
        criterion=criterion,
        style=style,
    )
    report, job = board.report, None
    if board.is_partial:
        job = services.leaderboard_job(
            project=project, source=source, version=board.version, criterion=criterion, style=style
        )
        if job is not None and job.state == JobState.SUCCEEDED:
            report = job.result["report"]
    return {
        "project": project,
        "heading": _("Which model is preferred?"),
        "active": "reports",
        "report": report,
        "sentence": words.leaderboard_sentence(report),
        "chart": charts.strengths(report),
        "pairs": [_with_shares(pair) for pair in report["pairs"][:MOST_PAIRS]],
        "n_pairs": len(report["pairs"]),
        "source": source,
        "sources": sources,
        "style": style,
        "style_effects": words.style_effects(report),
        "criteria": criteria_of(project),
        "criterion": criterion,
        "version": board.version,
        "made_at": board.made_at,
        "is_partial": board.is_partial,
        "job": job,
        "win_rates": board.win_rates,
        "win_rates_sentence": words.win_rates_sentence(board.win_rates) if board.win_rates else "",
        "win_rates_chart": charts.win_rates(board.win_rates) if board.win_rates else None,
        "label_judges": board.judges,
        "width": round(100 * width),
        "widths": WIDTHS,
        "download_query": "?"
        + urlencode(
            {"source": source, "judge": request.GET.get("judge", ""), "width": round(100 * width)}
            | ({"criterion": criterion} if criterion else {})
            | ({"style": 1} if style else {})
        ),
    }


def _half_width(text: str) -> float:
    return int(text) / 100 if text.isascii() and text.isdigit() and int(text) in WIDTHS else HALF_WIDTH


@login_required
@require_POST
def leaderboard_work_out(request: HttpRequest, slug: str) -> HttpResponse:
    """Start a job that computes Elo and the bootstrap of a large leaderboard."""
    project = access.project_for_reports(person(request), slug)
    source = request.POST.get("source") or selectors.ALL
    criterion, style = request.POST.get("criterion", ""), request.POST.get("style", "")
    try:
        criterion_named(project, criterion)
        services.leaderboard_work_out(
            project=project, source=source, started_by=person(request), criterion=criterion, style=bool(style)
        )
    except (NoSuchCriterion, selectors.NoSuchSource) as error:
        raise Http404(str(error)) from error
    asked = {"source": source} | ({"criterion": criterion} if criterion else {}) | ({"style": "1"} if style else {})
    return redirect(f"{reverse('reports:leaderboard', args=[project.slug])}?{urlencode(asked)}")


def _with_shares(pair: dict[str, Any]) -> dict[str, Any]:
    """Add where the parts of a bar 100 wide begin; as text, so that no language puts a comma into them."""
    n = pair["wins"] + pair["ties"] + pair["losses"]
    wins, ties = 100 * pair["wins"] / n, 100 * pair["ties"] / n
    bar = {"wins": wins, "ties": ties, "losses": 100 - wins - ties, "ties_at": wins, "losses_at": wins + ties}
    return pair | {"n": n, "bar": {key: f"{value:.2f}" for key, value in bar.items()}}


@login_required
@never_cache
@require_GET
def leaderboard_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    context = _board_context(request, project)
    name = f"{project.slug}.leaderboard.{form}"
    if form == "html":
        return downloads.page(request, name, "reports/_leaderboard.html", context)
    whole = context["report"] | {
        "criterion": context["criterion"],
        "win_rates": context["win_rates"],
        "version": context["version"],
        "made_at": context["made_at"].isoformat(),
    }
    return downloads.answer(downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n", name, form)
