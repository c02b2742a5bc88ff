"""Leases: which comparison a person is looking at, so that nobody else works on it for nothing."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from random import Random

from django.db import transaction

from apps.accounts.models import User
from apps.projects.models import Project
from apps.projects.selectors import guideline_name
from apps.rankings.models import Assignment
from apps.rankings.selectors.queue import open_assignments, wanting_votes
from apps.samples.models import Comparison
from apps.samples.services import EVALUATION

LEASE = timedelta(minutes=15)
PREFETCH = 3  # the pair on the screen and the next two
# What a person may hold in a project: a desk's pairs twice, for those whose answers are still on their way, or for a
# link followed beside the desk. Whatever more is asked for, the next person finds work.
MOST_HELD = 2 * PREFETCH
_TRIES = 8  # comparisons looked at while others take them


def assignment_next(*, project: Project, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease the next comparison to this person, or return the one they hold. None: nothing is left."""
    leased = assignments_lease(project=project, user=user, n=1, now=now, rng=rng)
    return leased[0] if leased else None


def assignments_lease(
    *, project: Project, user: User, n: int = PREFETCH, now: datetime, rng: Random, have: Collection[int] = ()
) -> list[Assignment]:
    """Lease up to `n` comparisons besides those of the assignments in `have`: first those the person holds, then new
    ones.

    Every lease they hold, including `have`, is renewed; with more than `MOST_HELD` the surplus is given back. A pair
    that was given back can still be voted on until somebody else gets it.
    """
    with transaction.atomic():
        held = _renewed(project, user, now)
        n_have = sum(assignment.pk in have for assignment in held)
        others = [assignment for assignment in held if assignment.pk not in have]
        n = max(0, min(n, MOST_HELD - n_have))
        mine = others[:n]
        surplus = [assignment.pk for assignment in others[max(0, MOST_HELD - n_have) :]]
        if surplus:
            Assignment.objects.filter(pk__in=surplus, state="open").update(state="expired")
    while len(mine) < n:
        new = _lease_one(project, user, now, rng)
        if new is None:
            break
        mine.append(new)
    _given_with_guideline(project, mine)
    return mine


def assignment_for_comparison(*, comparison: Comparison, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease exactly this comparison, for a shared link; None if this person may not vote on it."""
    project = comparison.project
    with transaction.atomic():
        held = [row for row in _renewed(project, user, now) if row.comparison_id == comparison.pk]
        given = held[0] if held else _lease(project, user, comparison.pk, now, rng)
    if given is not None:
        _given_with_guideline(project, [given])
    return given


def _given_with_guideline(project: Project, given: list[Assignment]) -> None:
    """Remember the guideline that is shown with these pairs now."""
    name = guideline_name(project)
    changed = [assignment for assignment in given if assignment.guideline != name]
    for assignment in changed:
        assignment.guideline = name
    if changed:
        Assignment.objects.filter(pk__in=[assignment.pk for assignment in changed]).update(guideline=name)


def _renewed(project: Project, user: User, now: datetime) -> list[Assignment]:
    """Renew the person's leases; an expired lease is renewed only if nobody else got the place."""
    open_rows = list(open_assignments(project=project, user=user))
    late = {row.comparison_id for row in open_rows if row.lease_until < now}
    free = set(
        wanting_votes(project=project, user=user, now=now).filter(pk__in=late).values_list("pk", flat=True)
        if late
        else ()
    )
    kept = [row for row in open_rows if row.comparison_id not in late or row.comparison_id in free]
    lost = [row.pk for row in open_rows if row not in kept]
    renewed = [row.pk for row in kept if row.lease_until - now < LEASE * 0.9]
    if lost:
        Assignment.objects.filter(pk__in=lost, state="open").update(state="expired")
    if renewed:
        Assignment.objects.filter(pk__in=renewed, state="open").update(lease_until=now + LEASE)
        for row in kept:
            row.lease_until = now + LEASE
    return kept


def _lease_one(project: Project, user: User, now: datetime, rng: Random) -> Assignment | None:
    passed: set[int] = set()
    for _ in range(_TRIES):
        held = Assignment.objects.filter(project=project, user=user, state="open").values("comparison_id")
        candidates = wanting_votes(project=project, user=user, now=now).exclude(pk__in=held).exclude(pk__in=passed)
        # an evaluation's few pairs first: they would come last, and a round is known by them
        measuring = candidates.filter(origin__startswith=EVALUATION)
        ids = list(measuring.values_list("pk", flat=True)[:_TRIES] or candidates.values_list("pk", flat=True)[:_TRIES])
        for comparison_id in ids:
            with transaction.atomic():
                leased = _lease(project, user, comparison_id, now, rng)
            if leased is not None:
                return leased
            passed.add(comparison_id)
        if not ids:
            break
    return None


def _lease(project: Project, user: User, comparison_id: int, now: datetime, rng: Random) -> Assignment | None:
    """Lock the comparison, check again whether a vote is needed, and only then insert.

    On SQLite the transaction already holds the only write lock; on PostgreSQL the second check is a statement of its
    own, so it sees what was committed while this one waited.
    """
    if Comparison.objects.select_for_update(no_key=True).filter(pk=comparison_id).first() is None:
        return None
    if not wanting_votes(project=project, user=user, now=now).filter(pk=comparison_id).exists():
        return None
    # Others' leases on it that ran out: their place is let again, and their late vote will be told so.
    Assignment.objects.filter(comparison_id=comparison_id, state="open", lease_until__lt=now).update(state="expired")
    made = Assignment.objects.create(
        project=project,
        comparison_id=comparison_id,
        user=user,
        order=rng.choice(("01", "10")),
        lease_until=now + LEASE,
    )
    return open_assignments(project=project, user=user).get(pk=made.pk)
