"""The desk for ratings: one answer after the other, blind. Scripts make it fast; without them plain forms work."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.models import User
from apps.projects.models import Project
from apps.projects.selectors import guideline_current
from apps.rankings.selectors import must_practise, n_wanting
from apps.rankings.services import SKIP_REASONS
from apps.rankings.views.said import (
    asked_id,
    guide_if_new,
    had,
    n_wanted,
    refused,
    said_at,
    said_why,
    seconds_of,
    wants_json,
)
from apps.ratings import access, selectors, services
from apps.ratings.models import RatingSeat
from apps.ratings.views.sent import values_sent
from prefloop.records import FLAG_REASONS
from prefloop.rubrics import rubric_loaded
from prefloop.types import SKIPPED, PrefloopError


@login_required
@never_cache
@require_GET
def desk(request: HttpRequest, slug: str) -> HttpResponse:
    user = access.person(request.user)
    project = access.project_for_rating(user, slug)
    if not project.asks_ratings:
        return redirect("rankings:annotate", slug=slug)
    if must_practise(project, user):
        return redirect("ratings:practice", slug=slug)
    now = timezone.now()
    seats = services.seats_lease(project=project, user=user, now=now)
    guideline = guideline_current(project)
    version = guideline.name if guideline else ""
    last = _history(project, user)
    context = {
        "project": project,
        "active": "annotate",
        "answers": selectors.answers_of(seats),
        "progress": selectors.progress(project, user),
        "guideline": guideline,
        "guideline_version": version,
        "guideline_first": bool(version and not last),
        "guideline_changed": bool(last and version and last[0]["rating"].guideline != version),
        "history": last,
        "skip_reasons": SKIP_REASONS,
        "flag_reasons": FLAG_REASONS,
        "n_pairs": 0 if seats else n_wanting(project=project, user=user, now=now),
        "stopped": "" if seats else selectors.stop_of(project, user),
    }
    return render(request, "ratings/rate.html", context)


@login_required
@never_cache
@require_POST
def lease(request: HttpRequest, slug: str) -> HttpResponse:
    """Lease the answers after those the page has already (`have`), and say which of those it still holds; `n` = 0 only
    renews.
    """
    user = access.person(request.user)
    project = access.project_for_rating(user, slug)
    n, have = n_wanted(request, services.PREFETCH), frozenset(had(request))
    seats = services.seats_lease(project=project, user=user, n=n, now=timezone.now(), have=have)
    body = {
        "html": "".join(_html(project, answer) for answer in selectors.answers_of(seats)),
        "held": list(selectors.held_by(project, user).values_list("pk", flat=True)),
        "progress": _progress(project, user),
        "guide": guide_if_new(request, project),
        "stopped": "" if seats else selectors.stop_of(project, user),
    }
    return JsonResponse(body)


@login_required
@never_cache
@require_POST
def save(request: HttpRequest, slug: str) -> HttpResponse:
    """Store a rating, or why there is none; with `next`, lease one more answer and send it along.

    `values` has a number for each item by its name, as JSON; a form without scripts sends a field for each.
    """
    user = access.person(request.user)
    seat = access.seat_for_write(user, asked_id(request), slug)
    choice = request.POST.get("choice", "")
    said = services.Rated(
        choice=choice,
        values=_values(request, seat),
        key=request.POST.get("key", ""),
        reason=said_why(request, SKIP_REASONS if choice == SKIPPED else {}),
        seconds=seconds_of(request.POST.get("seconds", "")),
        guideline=request.POST.get("guideline"),
        said_at=said_at(request),
    )
    taken, now = None, timezone.now()
    try:
        if request.POST.get("next"):
            stored, taken = services.rating_and_next(seat=seat, said=said, now=now)
        else:
            stored = services.rating_create(seat=seat, said=said, now=now)
    except PrefloopError as error:
        return refused(request, error, "ratings:desk", slug)
    if not wants_json(request):
        return redirect("ratings:desk", slug=slug)
    body = {
        "rating": stored.rating.pk,
        "guide": guide_if_new(request, seat.project),
        "html": "" if taken is None else _html(seat.project, *selectors.answers_of([taken])),
        "stopped": selectors.stop_of(seat.project, user) if taken is None else "",
    }
    return JsonResponse(body, status=201 if stored.created else 200)


@login_required
@never_cache
@require_POST
def undo(request: HttpRequest, slug: str) -> HttpResponse:
    """Undo the last rating, or the one of `assignment`."""
    user = access.person(request.user)
    project = access.project_for_rating(user, slug)
    which = access.seat_for_write(user, asked_id(request), slug) if request.POST.get("assignment") else None
    try:
        back = services.rating_undo(project=project, user=user, seat=which, now=timezone.now())
    except PrefloopError as error:
        return refused(request, error, "ratings:desk", slug)
    if not wants_json(request):
        return redirect("ratings:desk", slug=slug)
    (answer,) = selectors.answers_of([back])
    body = {"assignment": back.pk, "html": _html(project, answer), "progress": _progress(project, user)}
    return JsonResponse(body)


@login_required
@never_cache
@require_POST
def raise_flag(request: HttpRequest, slug: str) -> HttpResponse:
    """Store a flag on the answer of a seat, or with `withdraw` take one's own back."""
    seat = access.seat_for_write(access.person(request.user), asked_id(request), slug)
    now = timezone.now()
    if request.POST.get("withdraw"):
        return JsonResponse({"withdrawn": services.flag_withdraw(seat=seat, now=now)})
    reason, note = request.POST.get("reason", ""), request.POST.get("note", "")
    try:
        made = services.flag_create(seat=seat, reason=reason, note=note, said_at=said_at(request), now=now)
    except PrefloopError as error:
        return JsonResponse({"detail": _(str(error))}, status=400)
    return JsonResponse({"flag": made.flag.pk}, status=201 if made.created else 200)


@login_required
@never_cache
@require_GET
def history(request: HttpRequest, slug: str) -> HttpResponse:
    user = access.person(request.user)
    project = access.project_for_rating(user, slug)
    return render(request, "ratings/_history.html", {"project": project, "history": _history(project, user)})


def _history(project: Project, user: User) -> list[dict[str, Any]]:
    found = []
    for rating in selectors.history(project, user):
        items = [(item, rating.values.get(item.name)) for item in rubric_loaded(rating.rubric)]
        found.append({"rating": rating, "items": items})
    return found


def _values(request: HttpRequest, seat: RatingSeat) -> dict[str, Any]:
    """The values that were sent, as JSON or by a form."""
    given = request.POST.get("values")
    if given is not None:
        try:
            read = json.loads(given)
        except ValueError:
            read = None
        return read if isinstance(read, dict) else {}
    if request.POST.get("choice") != "rated":
        return {}
    return values_sent(request, f"item-{seat.pk}-")


def _html(project: Project, answer: selectors.ShownAnswer) -> str:
    return render_to_string("ratings/_answer.html", {"answer": answer, "project": project, "is_hidden": True})


def _progress(project: Project, user: User) -> dict[str, int | None]:
    progress = selectors.progress(project, user)
    return {"done": progress.done, "total": progress.total, "minutes_left": None}
