"""Pairs on which people split, one at a time: the votes, and a lead's decision on top of them."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.labels.selectors import counting_votes
from apps.rankings import access, selectors, services
from apps.samples.exposure import labels_shown
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_GET
def queue(request: HttpRequest, slug: str) -> HttpResponse:
    """One pair on which people split; `?at=ID` (`ID:CRITERION`) names it, `?show=done` looks at the decided ones."""
    project = access.project_for_adjudication(request.user, slug)
    done = request.GET.get("show") == "done"
    pairs = selectors.split_pairs(project, decided=done)
    at = request.GET.get("at", "")
    place = next((i for i, pair in enumerate(pairs) if pair.at == at), 0)
    context = {
        "project": project,
        "active": "review",
        "show": "done" if done else "todo",
        "pairs": pairs,
        "place": place + 1,
    }
    if pairs:
        pair = pairs[place]
        comparison = access.comparison_for_adjudication(request.user, slug, pair.comparison_id)
        labels_shown(request, [comparison.pk])
        votes = list(counting_votes(pair.criterion).filter(comparison=comparison).order_by("id"))
        marks = selectors.marked(votes, comparison)
        context |= {
            "pair": pair,
            "marks": marks,
            "drawn": selectors.marks_drawn(marks, comparison, whose=True),
            "comparison": comparison,
            "turns": selectors.conversation(comparison),
            "votes": votes,
            "previous_at": pairs[place - 1].at if place else None,
            "next_at": pairs[place + 1].at if place + 1 < len(pairs) else None,
        }
    return render(request, "rankings/split.html", context)


@login_required
@never_cache
@require_POST
def decide(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
    criterion = request.POST.get("criterion", "")
    at = f"{comparison_id}:{criterion}" if criterion else str(comparison_id)
    try:
        services.adjudication_create(
            comparison=comparison,
            user=access.person(request.user),
            choice=request.POST.get("choice", ""),
            reason=request.POST.get("reason", ""),
            criterion=criterion,
            now=timezone.now(),
        )
    except PrefloopError as error:
        messages.error(request, _(str(error)))
        return _to(slug, at)
    return _to(slug, request.POST.get("next", ""))


@login_required
@never_cache
@require_POST
def undo(request: HttpRequest, slug: str) -> HttpResponse:
    """Withdraw one's last adjudication in the project, whenever it was made."""
    project = access.project_for_adjudication(request.user, slug)
    try:
        taken = services.adjudication_undo(project=project, user=access.person(request.user), now=timezone.now())
    except PrefloopError as error:
        messages.error(request, _(str(error)))
        return redirect("rankings:split", slug=slug)
    messages.success(request, _("Undone. The pair is in the list again."))
    return _to(slug, f"{taken.comparison_id}:{taken.criterion}" if taken.criterion else str(taken.comparison_id))


def _to(slug: str, at: str) -> HttpResponse:
    """Go to the pair of an address, which need not be in the list any more; without one to the first."""
    return redirect(reverse("rankings:split", args=[slug]) + (f"?{urlencode({'at': at})}" if at else ""))
