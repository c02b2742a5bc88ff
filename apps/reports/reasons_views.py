"""The report on short reasons: how often each was chosen, with which outcome, and the votes behind a number."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.json import dumps
from apps.projects.models import Project
from apps.projects.selectors import NoSuchCriterion, criteria_of, criterion_named
from apps.reports import access, downloads
from apps.reports import reasons as found_by
from apps.reports.marks import marks_of
from apps.samples.exposure import labels_shown

PAGE = 25


@login_required
@never_cache
@require_GET
def reasons(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    asked = _asked(request, project)
    found = found_by.reasons_of(project, **asked)
    context = {
        "project": project,
        "active": "reports",
        "heading": _("Why do people choose as they do?"),
        "found": found,
        "marked": marks_of(project, **asked),
        "rows": [(row, [(word, row.said.get(word, 0)) for word in found.said]) for row in found.rows],
        "criteria": criteria_of(project),
        "guidelines": found_by.guidelines_with(project),
        "asked_query": f"?{urlencode(kept)}" if (kept := {key: value for key, value in asked.items() if value}) else "",
        **asked,
        **_votes(request, project, asked),
    }
    return render(request, "reports/reasons.html", context)


def _asked(request: HttpRequest, project: Project) -> dict[str, str]:
    try:
        return {
            "criterion": criterion_named(project, request.GET.get("criterion", "")),
            "guideline": found_by.guideline_named(project, request.GET.get("guideline", "")),
        }
    except (NoSuchCriterion, found_by.NoSuchGuideline) as error:
        raise Http404(str(error)) from error


def _votes(request: HttpRequest, project: Project, asked: dict[str, str]) -> dict[str, Any]:
    """The votes with the reason, and the outcome, that the address names."""
    reason, said = request.GET.get("reason", ""), request.GET.get("said", "")
    said = said if said in found_by.SAID else ""
    if not reason:
        return {"reason": "", "chosen_said": said}
    page = Paginator(found_by.votes_with(project, reason=reason, said=said, **asked), PAGE).get_page(
        request.GET.get("page")
    )
    votes = found_by.votes_shown(list(page))
    labels_shown(request, [vote.comparison_id for vote in votes])
    return {"reason": reason, "chosen_said": said, "page": page, "votes": votes, "n_found": page.paginator.count}


@login_required
@never_cache
@require_GET
def reasons_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """The counts as a file: JSON, or CSV."""
    project = access.project_for_reports(person(request), slug)
    asked = _asked(request, project)
    whole = {"project": project.slug} | asked | found_by.reasons_of(project, **asked).as_json()
    whole |= {"marks": marks_of(project, **asked).as_json()}
    text = downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n"
    return downloads.answer(text, f"{project.slug}.reasons.{form}", form)
