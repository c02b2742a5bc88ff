"""The annotation page: one pair after the other, blind. Scripts make it fast; without them plain forms work."""

from __future__ import annotations

from datetime import datetime
from random import SystemRandom
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.models import User
from apps.labels.models import Vote
from apps.labels.selectors import standing_votes
from apps.projects.access import has_role
from apps.projects.models import Project, Role
from apps.projects.selectors import guideline_current
from apps.rankings import access, selectors, services
from apps.rankings.models import Assignment
from apps.rankings.services.assign import PREFETCH, SHOWN_FIRST
from apps.rankings.views.said import (
    asked_id,
    guide_if_new,
    had,
    n_wanted,
    refused,
    said_at,
    said_in_short,
    said_why,
    seconds_of,
    wants_json,
)
from apps.samples.exposure import has_seen
from apps.samples.models import Comparison
from apps.samples.pairs import n_comparable
from prefloop.records import FLAG_REASONS
from prefloop.tasks import PAIR
from prefloop.types import SKIPPED, PrefloopError


@login_required
@never_cache
@require_GET
def desk(request: HttpRequest, slug: str) -> HttpResponse:
    user = access.person(request.user)
    project = access.project_for_annotate(user, slug)
    if selectors.must_practise(project, user) and not project.asks_ratings:
        return redirect("rankings:practice", slug=slug)
    leased = services.assignments_lease(project=project, user=user, now=timezone.now(), rng=SystemRandom())
    if project.asks_ratings and not leased:  # of pairs only those of evaluations are asked then
        return redirect("ratings:desk", slug=slug)
    return render(request, "rankings/annotate.html", _desk_context(project, user, leased))


@login_required
@never_cache
@require_GET
def item(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """One comparison by its own address: to vote on, or to see one's vote."""
    user = access.person(request.user)
    comparison = access.comparison_for(user, slug, comparison_id)
    now, rng = timezone.now(), SystemRandom()
    assignment = services.assignment_for_comparison(comparison=comparison, user=user, now=now, rng=rng)
    if assignment is not None:
        others = services.assignments_lease(
            project=comparison.project, user=user, n=SHOWN_FIRST - 1, now=now, rng=rng, have=[assignment.pk]
        )
        context = _desk_context(comparison.project, user, [assignment, *others])
        return render(request, "rankings/annotate.html", context)
    given = standing_votes(None).filter(comparison=comparison, user=user, assignment__isnull=False)
    mine = given.order_by("-pk").first()
    context = {
        "project": comparison.project,
        "active": "annotate",
        "vote": mine,
        **_marks_of(mine, comparison),
        "vote_shown": shown_choice(mine.choice, mine.order) if mine is not None else "",
        "ranked": ranked_by(mine),
        "pair": selectors.items_of([mine.assignment])[0] if mine is not None and mine.assignment is not None else None,
        "may_edit": access.may_edit(user, comparison.project),
        "can_undo": mine in selectors.history(project=comparison.project, user=user) if mine else False,
        "seen": has_seen(comparison_id=comparison.pk, user=user),
    }
    return render(request, "rankings/annotate_item.html", context)


@login_required
@never_cache
@require_POST
def lease(request: HttpRequest, slug: str) -> HttpResponse:
    """Lease the pairs after those the page has already (`have`), and say which of those it still holds; `n` = 0 only
    renews.
    """
    user = access.person(request.user)
    project = access.project_for_annotate(user, slug)
    n, have, now = n_wanted(request, PREFETCH), had(request), timezone.now()
    leased = services.assignments_lease(project=project, user=user, n=n, now=now, rng=SystemRandom(), have=have)
    held = selectors.open_assignments(project=project, user=user).values_list("pk", flat=True)
    body = {
        "html": "".join(_item_html(project, pair) for pair in selectors.items_of(leased)),
        "held": list(held),
        "progress": _progress(project, user, now),
        "guide": guide_if_new(request, project),
        "stopped": "" if leased else selectors.stop_of(project, user),
    }
    return JsonResponse(body)


@login_required
@never_cache
@require_POST
def vote(request: HttpRequest, slug: str) -> HttpResponse:
    """Store an answer; with `next`, lease one more pair and send it along."""
    user = access.person(request.user)
    marks = request.POST.get("marks", "")
    assignment = access.assignment_for_write(user, asked_id(request), slug, texts=bool(marks))
    # a button can send one value: "left much_better" says both where no script does
    choice, _space, strength = request.POST.get("choice", "").partition(" ")
    said: dict[str, Any] = {
        "assignment": assignment,
        "choice": choice,
        "strength": strength or request.POST.get("strength", ""),
        "reason": said_why(request, services.SKIP_REASONS if choice == SKIPPED else {}),
        "reasons": said_in_short(request),
        "seconds": seconds_of(request.POST.get("seconds", "")),
        "guideline": request.POST.get("guideline"),
        "said_at": said_at(request),
        "now": timezone.now(),
    }
    taken = None
    try:
        said["marks"] = services.marks_on_screen(assignment, marks)
        if request.POST.get("next"):
            voted, taken = services.vote_and_next(**said, rng=SystemRandom())
        else:
            voted = services.vote_create(**said)
    except PrefloopError as error:
        return refused(request, error, "rankings:annotate", slug)
    if not wants_json(request):
        return redirect("rankings:annotate", slug=slug)
    body = {"vote": voted.vote.pk} | and_next(request, assignment, taken)
    return JsonResponse(body, status=201 if voted.created else 200)


@login_required
@never_cache
@require_POST
def undo(request: HttpRequest, slug: str) -> HttpResponse:
    """Undo the last answer, or the one of `assignment`."""
    user = access.person(request.user)
    project = access.project_for_annotate(user, slug)
    which = access.assignment_for_write(user, asked_id(request), slug) if request.POST.get("assignment") else None
    try:
        back = services.vote_undo(project=project, user=user, assignment=which, now=timezone.now())
    except PrefloopError as error:
        return refused(request, error, "rankings:annotate", slug)
    if not wants_json(request):
        return redirect("rankings:annotate-item", slug=slug, comparison_id=back.comparison_id)
    body = {
        "assignment": back.pk,
        "html": _item_html(project, *selectors.items_of([back])),
        "progress": _progress(project, user, timezone.now()),
    }
    return JsonResponse(body)


@login_required
@never_cache
@require_GET
def history(request: HttpRequest, slug: str) -> HttpResponse:
    user = access.person(request.user)
    project = access.project_for_annotate(user, slug)
    context = {"project": project, "history": _history(project, user), "may_edit": access.may_edit(user, project)}
    return render(request, "rankings/_history.html", context)


def _marks_of(vote: Vote | None, comparison: Comparison) -> dict[str, Any]:
    """What a person marked in a pair, by the sides on which they saw its answers."""
    if vote is None or not vote.marks:
        return {}
    marks, left = selectors.marked([vote], comparison), "first" if vote.order == "01" else "second"
    drawn = selectors.marks_drawn(marks, comparison, whose=False)
    drawn = {"left" if answer == left else "right": value for answer, value in drawn.items()}
    return {"marks": [(mark, "A" if mark.answer == left else "B") for mark in marks], "drawn": drawn}


def _desk_context(project: Project, user: User, leased: list[Assignment]) -> dict[str, Any]:
    now = timezone.now()
    guideline = guideline_current(project)
    last = _history(project, user)
    version = guideline.name if guideline else ""
    return {
        "project": project,
        "active": "annotate",
        "pairs": selectors.items_of(leased),
        "task": guideline.declared if guideline else PAIR,
        "progress": selectors.progress(project=project, user=user, now=now),
        "guideline": guideline,
        "guideline_version": version,
        "guideline_first": bool(version and not last),
        "guideline_changed": bool(last and version and last[0]["vote"].guideline != version),
        "history": last,
        "may_edit": access.may_edit(user, project),
        "skip_reasons": services.SKIP_REASONS,
        "flag_reasons": FLAG_REASONS,
        "may_import": access.may_see_people(user, project),
        "n_comparable": 0 if leased else _n_comparable(project, user),
        "stopped": "" if leased else selectors.stop_of(project, user),
    }


def _n_comparable(project: Project, user: User) -> int:
    """How many prompts have answers that this person may pair, if there is no comparison yet."""
    if not has_role(user, project, Role.ENGINEER) or Comparison.objects.filter(project=project).exists():
        return 0
    return n_comparable(project)


def _history(project: Project, user: User) -> list[dict[str, Any]]:
    return [
        {"vote": vote, "choice": shown_choice(vote.choice, vote.order), "ranked": ranked_by(vote)}
        for vote in selectors.history(project=project, user=user)
    ]


def ranked_by(vote: Vote | None) -> list[str]:
    """The ranking that a vote was given by, in the letters of the screen; empty where it was given by itself."""
    if vote is None or vote.ranking is None:
        return []
    return selectors.lettered(vote.ranking.groups, vote.ranking.shown)


def shown_choice(choice: str, order: str) -> str:
    """A canonical choice in terms of the screen it was made on: "A", "B", or the word itself."""
    if choice in {"first", "second"}:
        return "A" if (choice == "first") == (order == "01") else "B"
    return choice


def and_next(request: HttpRequest, answered: Assignment, taken: services.Taken | None) -> dict[str, Any]:
    """What follows an answer: the person's numbers, the guideline if it is a new one, and the next pair."""
    project, user = answered.project, answered.holder
    if taken is None:
        progress = _progress(project, user, timezone.now())
    else:
        progress = _numbers(
            selectors.progress_from(project=project, mine=taken.place, shared=taken.shared, n_held=taken.n_held)
        )
    return {
        "progress": progress,
        "guide": guide_if_new(request, project, answered.guideline_now),
        "html": "" if taken is None else _item_html(project, *selectors.items_of([taken.assignment])),
        # with pairs held, the budget ends after them
        "stopped": selectors.pause_of(project, user) if taken is None else "",
    }


def _item_html(project: Project, pair: selectors.ShownPair | selectors.ShownSet) -> str:
    """Render a pair, or a set, without the request: what pages add for their frame costs a count of jobs each time."""
    return render_to_string("rankings/_item.html", {"pair": pair, "project": project, "is_hidden": True})


def _progress(project: Project, user: User, now: datetime) -> dict[str, int | None]:
    return _numbers(selectors.progress(project=project, user=user, now=now))


def _numbers(progress: selectors.Progress) -> dict[str, int | None]:
    return {"done": progress.done, "total": progress.total, "minutes_left": progress.minutes_left}
