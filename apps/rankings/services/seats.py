"""Making seats: as many free ones as votes are still wanted of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from django.db import transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.jobs.services import job_enqueue
from apps.labels.models import Vote
from apps.labels.selectors import CHUNK, standing_votes
from apps.labels.services import AT_ONCE
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import EXPIRED, FREE, MEASURING, OPEN, ORDINARY, Assignment
from apps.rankings.selectors.queue import held
from apps.rankings.services.counts import counted, counts_add
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison, annotatable
from apps.samples.services import EVALUATION
from prefloop.types import ANSWERS


def seats_settle(*, project: Project, comparison_ids: Sequence[int] | None = None) -> None:
    """Give comparisons (all of the project unless ids are given) as many free seats as votes are still wanted.

    Repeating it changes nothing. Comparisons that are not for people, or of an unfinished import, get none.
    """
    if comparison_ids is None:
        rows = Comparison.objects.filter(project=project).order_by("id")
        comparison_ids = list(rows.values_list("id", flat=True))
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        with counted(project.pk, ids):
            seats_fill(project.pk, ids)


def seats_of_new(*, project: Project, comparison_ids: Sequence[int]) -> None:
    """Make the seats of comparisons that nobody has met, in the transaction that makes them or shows them to people."""
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        with transaction.atomic():
            comparisons_lock(ids)
            opened = seats_fill(project.pk, ids)
            counts_add(project.pk, Counter({(None, "n_open"): len(opened)}))


def seats_fill(project_id: int, comparison_ids: Sequence[int]) -> set[int]:
    """Add or remove free seats, and return the comparisons that got some. The caller has locked the comparisons."""
    wanted = Project.objects.values_list("votes_per_comparison", flat=True).get(pk=project_id)
    here = Comparison.objects.filter(pk__in=comparison_ids, project=project_id)
    for_people = set(here.filter(ready(), annotatable()).values_list("pk", flat=True))
    on_this = Q(comparison=OuterRef("pk"))
    rows = here.order_by("pk").values_list(
        "pk",
        "origin",
        _count(standing_votes().filter(on_this, choice__in=ANSWERS)),
        _count(Assignment.objects.filter(on_this, state=OPEN)),
        _count(Assignment.objects.filter(on_this, state=FREE)),
    )
    new: list[tuple[int, int, str, int]] = []
    surplus: dict[int, int] = {}
    for pk, origin, n_said, n_held, n_free in rows:
        n = max(0, wanted - n_said - n_held) if pk in for_people else 0
        # an evaluation's few pairs first: they would come last, and a round is known by them
        priority = MEASURING if origin.startswith(EVALUATION) else ORDINARY
        new += [(project_id, pk, FREE, priority)] * (n - n_free)
        if n_free > n:
            surplus[pk] = n_free - n
    rows_insert(Assignment, ("project_id", "comparison_id", "state", "priority"), new)
    if surplus:
        free = Assignment.objects.filter(comparison__in=surplus, state=FREE).order_by("-pk")
        gone = []
        for pk, comparison in free.values_list("pk", "comparison_id"):
            if surplus[comparison]:
                surplus[comparison] -= 1
                gone.append(pk)
        Assignment.objects.filter(pk__in=gone, state=FREE).delete()
    return {comparison for _, comparison, *_ in new}


def _count(rows: QuerySet[Vote] | QuerySet[Assignment]) -> Coalesce:
    counts = rows.order_by().values("comparison").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counts), 0)


def leases_sweep(*, project: Project, now: datetime, but_of: int) -> None:
    """End the leases of others that ran out; a person's own are theirs until somebody asks for work."""
    late = held(project).filter(lease_until__lt=now).exclude(user=but_of)
    for seat, comparison in late.order_by("comparison", "pk").values_list("pk", "comparison_id"):
        lease_end(project_id=project.pk, seat=seat, comparison_id=comparison, late_at=now)


def lease_end(*, project_id: int, seat: int, comparison_id: int, late_at: datetime | None = None) -> None:
    """Let a held seat's place to others, unless it was voted on (or, with `late_at`, renewed) meanwhile."""
    still = Assignment.objects.filter(pk=seat, state=OPEN)
    if late_at is not None:
        still = still.filter(lease_until__lt=late_at)
    with counted(project_id, [comparison_id]):
        if still.update(state=EXPIRED):
            seats_fill(project_id, [comparison_id])


# --- what happens below, in apps that do not know of seats ------------------------------------------------------------


def comparisons_made(project: Project, comparison_ids: Sequence[int]) -> None:
    """Make the seats of new comparisons."""
    seats_of_new(project=project, comparison_ids=comparison_ids)


def wanted_votes_changed(project: Project) -> None:
    """Add or remove seats after the project asks for another number of votes; for many comparisons in a job."""
    if Comparison.objects.filter(project=project).count() > AT_ONCE:
        title = "Bring the queue to another number of votes"
        job_enqueue(kind="rankings.seats", queue="cpu", payload={}, project=project, title=title)
    else:
        seats_settle(project=project)


@contextmanager
def labels_seen(user_id: int, comparison_ids: Sequence[int]) -> Iterator[None]:
    """Record that a person is shown labels: they give back what they hold of these, and it is not for them any more."""
    with transaction.atomic():
        comparisons_lock(comparison_ids)
        here = Q(comparison__in=comparison_ids)
        mine = Assignment.objects.filter(here, user=user_id, state=OPEN)
        holds = list(mine.values_list("comparison_id", "project_id"))
        answered = standing_votes().filter(here, user=user_id).values("comparison")
        free = Assignment.objects.filter(here, user=None).exclude(comparison__in=answered)
        free = free.exclude(comparison__in=[comparison for comparison, _ in holds])
        n_comparisons = Count("comparison", distinct=True)
        blocked = list(free.order_by().values("project").annotate(n=n_comparisons).values_list("project", "n"))
        yield
        for comparison, project in holds:
            with counted(project, [comparison]):
                mine.filter(comparison=comparison).update(state=EXPIRED)
                seats_fill(project, [comparison])
        for project, n in sorted(blocked):
            counts_add(project, Counter({(user_id, "n_blocked"): n}))
