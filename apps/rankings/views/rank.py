"""Ranking a set of answers at the desk."""

from __future__ import annotations

from random import SystemRandom

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from apps.rankings import access, services
from apps.rankings.models import Assignment
from apps.rankings.views.annotate import and_next
from apps.rankings.views.said import asked_id, refused, said_at, said_in_short, said_why, seconds_of, wants_json
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_POST
def rank(request: HttpRequest, slug: str) -> HttpResponse:
    """Store a ranking; with `next`, lease one more pair or set and send it along.

    `ranks` has a number for each answer in the order shown, "2,1,1"; a form without scripts sends a field for each.
    """
    user = access.person(request.user)
    assignment = access.assignment_for_write(user, asked_id(request), slug)
    said = services.Answered(
        ranks=_ranks(request, assignment),
        key=request.POST.get("key", ""),
        reason=said_why(request, {}),
        reasons=said_in_short(request),
        seconds=seconds_of(request.POST.get("seconds", "")),
        guideline=request.POST.get("guideline"),
        said_at=said_at(request),
    )
    taken, now = None, timezone.now()
    try:
        if request.POST.get("next"):
            ranked, taken = services.rank_and_next(assignment=assignment, said=said, now=now, rng=SystemRandom())
        else:
            ranked = services.rank_create(assignment=assignment, said=said, now=now)
    except PrefloopError as error:
        return refused(request, error, "rankings:annotate", slug)
    if not wants_json(request):
        return redirect("rankings:annotate", slug=slug)
    body = {"ranking": ranked.ranking.pk} | and_next(request, assignment, taken)
    return JsonResponse(body, status=201 if ranked.created else 200)


def _ranks(request: HttpRequest, assignment: Assignment) -> list[int]:
    """The numbers that were sent; 0, which is no rank, for what is none."""
    given = request.POST.get("ranks", "").split(",")
    if given == [""]:
        given = [request.POST.get(f"rank-{assignment.pk}-{at}", "") for at in range(len(assignment.shown or ()))]
    return [int(one) if one.isascii() and one.isdigit() else 0 for one in given]
