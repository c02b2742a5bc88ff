"""Leases: which comparison a person looks at, and that nobody else looks at it for nothing."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from random import Random

from django.db import transaction

from apps.accounts.models import User
from apps.projects.models import Project
from apps.rankings.models import Assignment
from apps.rankings.selectors.queue import open_assignments, wanting_votes
from apps.samples.models import Comparison

LEASE = timedelta(minutes=15)
PREFETCH = 3  # the pair on the screen and the next two
_TRIES = 8  # comparisons looked at while others take them


def assignment_next(*, project: Project, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease the next comparison to this person; the one they hold already, if they hold one. None: nothing is left."""
    leased = assignments_lease(project=project, user=user, n=1, now=now, rng=rng)
    return leased[0] if leased else None


def assignments_lease(
    *, project: Project, user: User, n: int = PREFETCH, now: datetime, rng: Random, have: Collection[int] = ()
) -> list[Assignment]:
    """Lease up to `n` comparisons besides those of the assignments in `have`: first what the person holds, then new.

    Every lease they hold, `have` included, runs anew from now.
    """
    with transaction.atomic():
        held = _renewed(project, user, now)
        mine = [assignment for assignment in held if assignment.pk not in set(have)][:n]
    while len(mine) < n:
        new = _lease_one(project, user, now, rng)
        if new is None:
            break
        mine.append(new)
    return mine


def assignment_for_comparison(*, comparison: Comparison, user: User, now: datetime, rng: Random) -> Assignment | None:
    """Lease this very comparison, for a link somebody shared; None where it is not theirs to vote on."""
    project = comparison.project
    with transaction.atomic():
        held = [row for row in _renewed(project, user, now) if row.comparison_id == comparison.pk]
        return held[0] if held else _lease(project, user, comparison.pk, now, rng)


def comparison_mark_seen(*, comparison: Comparison, user: User, now: datetime) -> None:
    """Remember that this person was shown a judge's label of it: their vote on it would no longer be blind."""
    seen = Assignment.objects.filter(comparison=comparison, user=user, state="seen")
    if seen.exists():
        return
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        if seen.exists():
            return
        still_open = Assignment.objects.filter(comparison=comparison, user=user, state="open")
        if not still_open.update(state="seen", lease_until=now):
            Assignment.objects.create(
                project_id=comparison.project_id,
                comparison=comparison,
                user=user,
                order="01",
                lease_until=now,
                state="seen",
            )


def _renewed(project: Project, user: User, now: datetime) -> list[Assignment]:
    """Renew what the person holds; a lease that ran out is renewed only if nobody else was given the place."""
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
        ids = list(candidates.values_list("pk", flat=True)[:_TRIES])
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
    """Lock the comparison, look again whether there is room, and only then insert.

    On SQLite the transaction already holds the one write lock; on PostgreSQL the second look is a statement of its
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
