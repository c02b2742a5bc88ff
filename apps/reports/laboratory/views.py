"""The laboratory's pages: all studies, and one study with its figure, verdict and runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.core.json import dumps
from apps.jobs.clock import database_now
from apps.projects.access import has_role
from apps.projects.models import Project, Role
from apps.reports import access, downloads
from apps.reports.laboratory import charts, words
from apps.reports.laboratory.forms import StudyForm
from apps.reports.laboratory.report import laboratory_report, study_report
from apps.reports.laboratory.running import study_start, study_stop, why_not
from apps.reports.models import StudyState
from prefloop.studies.catalogue import UnknownStudy, get_study
from prefloop.studies.declaration import Study as Declared
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_GET
def laboratory(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    reports = laboratory_report(project=project)
    context = {
        "project": project,
        "active": "reports",
        "studies": [report | {"verdict_words": _verdict(report)} for report in reports],
    }
    return render(request, "reports/laboratory.html", context)


@login_required
@never_cache
@require_GET
def study(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One study; with `since`, only its live part, or 204 if nothing has changed."""
    project = access.project_for_reports(person(request), slug)
    context = _context(request, project, _declared(name))
    since = request.GET.get("since")
    if since is not None and since == context["version"]:
        response = HttpResponse(status=204)
    else:
        page = "reports/study.html" if since is None else "reports/_study.html"
        response = render(request, page, context)
    response["X-Since"] = context["version"]
    return response


@login_required
@never_cache
@require_GET
def study_file(request: HttpRequest, slug: str, name: str, form: str) -> HttpResponse:
    """Every figure as a file: JSON, CSV or a self-contained page."""
    project = access.project_for_reports(person(request), slug)
    context = _context(request, project, _declared(name))
    file = f"{project.slug}.{name}.{form}"
    if form == "html":
        return downloads.page(request, file, "reports/_study.html", context)
    whole = context["report"]
    return downloads.answer(downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n", file, form)


@login_required
@require_POST
def study_run(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Start the study, or continue it."""
    project = access.project_for_studies(person(request), slug)
    declared = _declared(name)
    form = StudyForm(declared, request.POST)
    if not form.is_valid():
        return render(request, "reports/study.html", _context(request, project, declared, form), status=400)
    try:
        study_start(
            project=project,
            name=declared.name,
            n_seeds=form.cleaned_data["seeds"],
            budget_minutes=form.cleaned_data["budget"],
            started_by=person(request),
            now=database_now(),
        )
    except PrefloopError as error:
        messages.error(request, str(error))
    return redirect("reports:study", slug=slug, name=name)


@login_required
@require_POST
def study_halt(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Start no more runs of the study."""
    found = access.study_for_write(person(request), slug, _declared(name).name)
    study_stop(study=found, by=person(request), now=database_now())
    return redirect("reports:study", slug=slug, name=name)


def _declared(name: str) -> Declared:
    try:
        return get_study(name)
    except UnknownStudy as error:
        raise Http404(str(error)) from error


def _context(
    request: HttpRequest, project: Project, declared: Declared, form: StudyForm | None = None
) -> dict[str, Any]:
    report = study_report(project=project, declared=declared)
    may_run = has_role(request.user, project, Role.ENGINEER)
    return {
        "project": project,
        "active": "reports",
        "heading": declared.title,
        "report": report,
        "arms": [
            {"of": arm, "keys": [*arm.settings.items(), *((key, _either(values)) for key, values in arm.sweep.items())]}
            for arm in declared.arms
        ],
        "verdict_words": _verdict(report),
        "claims": [
            claim | {"words": words.difference(claim) if claim["estimate"] is not None else ""}
            for claim in report["claims"]
        ],
        "laws": [words.law_words(law) for law in report["laws"]],
        "chart": charts.figure(report, slug=project.slug),
        "running": report["state"] == StudyState.RUNNING,
        "may_run": may_run,
        "obstacle": why_not(project, declared) if may_run else "",
        "form": form or StudyForm(declared, initial={"seeds": report["n_seeds"]}),
        "version": f"{report['state']}-{report['n_done']}-{sum(one['loop'] or 0 for one in report['runs'])}",
        "made_at": timezone.now(),
    }


def _verdict(report: dict[str, Any]) -> str:
    if not report["seeds_complete"]:
        return _("Not run yet") if report["state"] == "not started" else _("No seed complete yet")
    return str(_(words.VERDICTS[report["verdict"]]))


def _either(values: tuple[Any, ...]) -> str:
    return " or ".join(str(value) for value in values)
