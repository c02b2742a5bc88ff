"""Leases: which comparison a person is looking at, so that nobody else works on it for nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from random import Random

from apps.accounts.models import User
from apps.projects.models import Guideline, Project
from apps.projects.selectors import guideline_current
from apps.rankings.gold import mixed
from apps.rankings.models import GOLD, OPEN, Assignment, Place
from apps.rankings.selectors.practice import must_practise
from apps.rankings.selectors.queue import held as held_seats
from apps.rankings.selectors.queue import mixing, open_assignments
from apps.rankings.selectors.stops import room, stop_of
from apps.rankings.services.counts import place_of
from apps.rankings.services.seats import lease_end, leases_sweep
from apps.rankings.services.sets import sets_lay_out
from apps.rankings.services.take import LEASE, Asking, asking, asking_again, seat_take, seat_take_of
from apps.rankings.services.take_many import seats_take
from apps.samples.models import Comparison
from prefloop.tasks import PAIR

SHOWN_FIRST = 3  # pairs that the desk's page comes with; it asks for the others when it is open
PREFETCH = 21  # the pair on the screen and the next twenty, which are there without a connection
# What a person may hold in a project: a desk's pairs twice, for those whose answers are still on their way, or for a
# link followed beside the desk. Whatever more is asked for, the next person finds work.
MOST_HELD = 2 * PREFETCH


def assignment_next(*, project: Project, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease the next comparison to this person, or return the one they hold. None: nothing is left."""
    leased = assignments_lease(project=project, user=user, n=1, now=now, rng=rng)
    return leased[0] if leased else None


def assignments_lease(
    *, project: Project, user: User, n: int = SHOWN_FIRST, now: datetime, rng: Random, have: Collection[int] = ()
) -> list[Assignment]:
    """Lease up to `n` comparisons besides those of the assignments in `have`: first those the person holds, then new
    ones. Where others are at work too, nobody gets more than their share of what is free, but for the first few.

    Every lease they hold, including `have`, is renewed; with more than `MOST_HELD` the surplus is given back. A pair
    that was given back can still be voted on until somebody else gets it.
    """
    held = mixed(_renewed(project, user, now))
    n_have = sum(assignment.pk in have for assignment in held)
    others = [assignment for assignment in held if assignment.pk not in have]
    n = max(0, min(n, MOST_HELD - n_have))
    mine = others[:n]
    for assignment in others[max(0, MOST_HELD - n_have) :]:
        lease_end(project_id=project.pk, seat=assignment.pk, comparison_id=assignment.comparison_id)
    current = guideline_current(project)
    guideline = current.name if current is not None else ""
    if n and (place := place_of(project, user)) and (place.pause or must_practise(project, user, place)):
        return []
    if project.pause:
        return []
    n = min(n, len(mine) + max(0, room(project)))
    if len(mine) < n:
        leases_sweep(project=project, now=now, but_of=user.pk)
        if n > SHOWN_FIRST:
            n = min(n, max(SHOWN_FIRST, len(mine) + _share(project, user)))
        asked = asking(project=project, user=user, now=now, rng=rng, guideline=guideline)
        gold = _gold_among(asked, n - len(mine), n_held=len(held))
        if n - len(mine) > 1:
            taken_now, place = seats_take(asked, n - len(mine), rng, gold)
            mine += taken_now
            asked = asking_again(asked, place, rng)
        elif gold:
            asked = replace(asked, lanes=(GOLD, *asked.lanes))
        while len(mine) < n and (taken := seat_take(asked)) is not None:
            mine.append(taken.assignment)
            asked = asking_again(asked, taken.place, rng)
    _given_with_guideline(current, mine, rng)
    return mine


def _gold_among(asked: Asking, n: int, *, n_held: int) -> list[int]:
    """Which of the next n pairs are gold, by position."""
    shared = Place.objects.filter(project=asked.project, user=None).first() if asked.project.gold_share else None
    if shared is None:
        return []
    numbers = {"n_open": shared.n_open, "n_gold": shared.n_gold, "n_held": n_held}
    return mixing(asked.project, asked.place, **numbers).places(n)


def _share(project: Project, user: User) -> int:
    """How many of the free comparisons are this person's part, with those who hold some now."""
    n_others = held_seats(project).exclude(user=user).values("user").distinct().count()
    n_open = Place.objects.filter(project=project, user=None).values_list("n_open", flat=True).first() or 0
    return -(-n_open // (n_others + 1))


def assignment_for_comparison(*, comparison: Comparison, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease exactly this comparison, for a shared link; None if this person may not vote on it."""
    project = comparison.project
    held = [row for row in _renewed(project, user, now) if row.comparison_id == comparison.pk]
    current = guideline_current(project)
    if not held:
        if stop_of(project, user):
            return None
        leases_sweep(project=project, now=now, but_of=user.pk)
        guideline = current.name if current is not None else ""
        asked = asking(project=project, user=user, now=now, rng=rng, guideline=guideline)
        taken = seat_take_of(asked, comparison)
        held = [] if taken is None else [taken.assignment]
    _given_with_guideline(current, held[:1], rng)
    return held[0] if held else None


def _given_with_guideline(current: Guideline | None, given: list[Assignment], rng: Random) -> None:
    """Remember the guideline that is shown with these pairs now, and lay out the sets that its task asks about."""
    name = current.name if current is not None else ""
    sets_lay_out(given, PAIR if current is None else current.declared, rng)
    changed = [assignment for assignment in given if assignment.guideline != name]
    for assignment in changed:
        assignment.guideline = name
    if changed:
        Assignment.objects.filter(pk__in=[assignment.pk for assignment in changed]).update(guideline=name)


def _renewed(project: Project, user: User, now: datetime) -> list[Assignment]:
    """Renew the person's leases; one that ran out is still theirs where nobody has asked for work since."""
    rows = open_assignments(project=project, user=user)
    held = list(rows)
    renewed = [row.pk for row in held if row.lease_until is not None and row.lease_until - now < LEASE * 0.9]
    if renewed:
        n = Assignment.objects.filter(pk__in=renewed, state=OPEN).update(lease_until=now + LEASE)
        if n < len(renewed):  # somebody asked just now
            return list(rows.all())
        for row in held:
            if row.pk in renewed:
                row.lease_until = now + LEASE
    return held
