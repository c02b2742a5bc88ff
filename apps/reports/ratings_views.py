"""The report on ratings: each item of the rubric, by source and by person, and the ratings behind a number."""

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
from apps.labels.models import Rating
from apps.projects.models import Project
from apps.projects.selectors import NoSuchCriterion, criteria_of, criterion_named
from apps.reports import access, charts, downloads
from apps.reports import ratings as found_by
from apps.reports.ratings_words import is_share, ratings_sentence
from apps.reports.reasons import NoSuchGuideline, guideline_named
from apps.samples.exposure import labels_shown, scores_shown
from prefloop.rubrics import rubric_loaded

PAGE = 25
OF = ("all", "value", "source", "rater", "shared")  # which ratings are listed
SHOWN_SOURCES = 40  # in the chart; the table has them all


@login_required
@never_cache
@require_GET
def ratings(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    asked = _asked(request, project)
    report = found_by.report_of(project, asked)
    context: dict[str, Any] = {
        "project": project,
        "active": "reports",
        "heading": _("What do people's ratings say?"),
        "report": report,
        "total_name": found_by.TOTAL,
        "rows": [(item, is_share(item)) for item in report["items"]],
        "criteria": criteria_of(project),
        "guidelines": found_by.guidelines_that_rate(project),
        "guideline": asked.guideline,
        "criterion": asked.criterion,
        "asked_query": f"?{urlencode(kept)}" if (kept := _kept(asked)) else "",
    }
    if report["items"]:
        context |= {"sentence": ratings_sentence(report)} | _chosen(request, report)
        context |= _behind(request, project, asked, context["chosen_name"])
    return render(request, "reports/ratings.html", context)


def _asked(request: HttpRequest, project: Project) -> found_by.Asked:
    try:
        return found_by.Asked(
            guideline=guideline_named(project, request.GET.get("guideline", "")),
            criterion=criterion_named(project, request.GET.get("criterion", "")),
        )
    except (NoSuchCriterion, NoSuchGuideline) as error:
        raise Http404(str(error)) from error


def _kept(asked: found_by.Asked) -> dict[str, str]:
    both = {"guideline": asked.guideline, "criterion": asked.criterion}
    return {name: value for name, value in both.items() if value}


def _chosen(request: HttpRequest, report: dict[str, Any]) -> dict[str, Any]:
    """The item that the address names, else the first one, with its chart."""
    by_name = {item["item"]: item for item in report["items"]} | {found_by.TOTAL: report["total"]}
    name = request.GET.get("item") or report["items"][0]["item"]
    if name not in by_name:
        raise Http404(f"no rating by an item {name!r}")
    item = by_name[name]
    most = max(item["distribution"].values(), default=0)
    return {
        "chosen": item,
        "chosen_name": name,
        "is_total": name == found_by.TOTAL,
        "is_share": is_share(item),
        "bars": [
            (int(value), n, n / item["n"] if item["n"] else None, 100 * n / most if most else 0)
            for value, n in item["distribution"].items()
        ],
        "chart": charts.rated_sources(item["sources"][:SHOWN_SOURCES], is_share=is_share(item)),
    }


def _behind(request: HttpRequest, project: Project, asked: found_by.Asked, item: str) -> dict[str, Any]:
    """The ratings, or the pairs, behind the number that the address names."""
    how = request.GET.get("pairs", "")
    if how in found_by.PAIRS:
        pairs = found_by.Ratings(project, asked).pairs_behind(item, how)
        of_pairs = Paginator(pairs, PAGE).get_page(request.GET.get("page"))
        shown = found_by.pairs_shown(list(of_pairs))
        labels_shown(request, [row.pk for _pair, row in shown])
        scores_shown(request, [answer for _pair, row in shown for answer in (row.first_id, row.second_id)])
        return {"pairs_how": how, "page": of_pairs, "pairs": shown, "n_found": of_pairs.paginator.count}
    of = request.GET.get("of", "")
    if of not in OF:
        return {}
    value = request.GET.get("value", "")
    given = found_by.Behind(
        item=item,
        value=int(value) if of == "value" and value in {"0", "1", "2", "3", "4", "5"} else None,
        source=request.GET.get("source", "") if of == "source" else None,
        rater=request.GET.get("rater", "") if of == "rater" else "",
        shared=of == "shared",
    )
    page = Paginator(found_by.Ratings(project, asked).behind(given), PAGE).get_page(request.GET.get("page"))
    found = found_by.ratings_shown(list(page))
    scores_shown(request, [rating.completion_id for rating in found])
    listed = [(rating, _values(rating)) for rating in found]
    return {"behind": given, "page": page, "listed": listed, "n_found": page.paginator.count}


def _values(rating: Rating) -> list[tuple[str, str, int]]:
    return [(item.name, item.kind, rating.values[item.name]) for item in rubric_loaded(rating.rubric)]


@login_required
@never_cache
@require_GET
def ratings_file(request: HttpRequest, slug: str, form: str) -> HttpResponse:
    """The figures as a file: JSON, or CSV."""
    project = access.project_for_reports(person(request), slug)
    whole = found_by.report_of(project, _asked(request, project))
    text = downloads.table_of(whole) if form == "csv" else dumps(whole) + "\n"
    return downloads.answer(text, f"{project.slug}.ratings.{form}", form)
