"""Comparing results: loops in one chart, two checkpoints' answers side by side."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.projects.access import project_for
from apps.projects.models import Role
from apps.training.lineage.overlay import MOST_LOOPS, differences, loop_name, overlay
from apps.training.lineage.selectors import loop_list
from apps.training.lineage.side_by_side import ORDERS, sampled_checkpoints, shared_prompts, side_by_side

SHOWN_LOOPS = 50
PAGE = 10
MOST_ORDERED = 2000  # prompts that are put in an order by length


@login_required
@never_cache
@require_GET
def loops(request: HttpRequest, slug: str) -> HttpResponse:
    """Curves of several loops in one chart each, and the settings in which they differ."""
    project = project_for(request.user, slug, Role.LEAD)
    there = list(loop_list(project)[:SHOWN_LOOPS])
    wanted = request.GET.getlist("loop")
    chosen = [loop for loop in loop_list(project) if str(loop.pk) in wanted]
    if len(chosen) < len(set(wanted)):
        raise Http404("no such loop")
    chosen = sorted(chosen, key=lambda loop: loop.pk)[:MOST_LOOPS]
    differing, n_same = differences(chosen) if len(chosen) > 1 else ([], 0)
    context = {
        "project": project,
        "active": "loops",
        "there": there,
        "chosen": chosen,
        "chosen_ids": [loop.pk for loop in chosen],
        "names": [(loop, loop_name(loop)) for loop in chosen],
        "too_many": len(set(wanted)) > MOST_LOOPS,
        "most": MOST_LOOPS,
        "charts": overlay(chosen),
        "differences": differing,
        "n_same": n_same,
    }
    return render(request, "training/compare_loops.html", context)


@login_required
@never_cache
@require_GET
def checkpoints(request: HttpRequest, slug: str) -> HttpResponse:
    """Two checkpoints' answers to the same prompts."""
    project = project_for(request.user, slug, Role.LEAD)
    there = list(sampled_checkpoints(project.pk))
    by_id = {str(row.pk): row for row in there}
    wanted = [request.GET.get(name, "") for name in ("first", "second")]
    if any(text and text not in by_id for text in wanted):
        raise Http404("no such checkpoint with answers")
    # the newest against the oldest, where nothing was chosen
    first = by_id.get(wanted[0]) or (there[-1] if there else None)
    second = by_id.get(wanted[1]) or next((row for row in there if row != first), None)
    order = request.GET.get("order", "prompt")
    context = {
        "project": project,
        "active": "policies",
        "there": there,
        "first": first,
        "second": second,
        "order": order if order in ORDERS else "prompt",
    }
    if first is not None and second is not None and first != second:
        ids = shared_prompts(first, second)
        if context["order"] != "prompt":
            ordered = side_by_side(first, second, ids[:MOST_ORDERED], order=str(context["order"]))
            ids = [sides.prompt.pk for sides in ordered]
        page = Paginator(ids, PAGE).get_page(request.GET.get("page"))
        context |= {"page": page, "sides": side_by_side(first, second, list(page))}
    return render(request, "training/compare_checkpoints.html", context)
