"""Making seats: as many free ones as votes are still wanted of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.jobs.services import job_enqueue
from apps.labels.models import ReviewItem, Vote
from apps.labels.selectors import CHUNK, counting_votes, standing_votes
from apps.labels.services import AT_ONCE
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import (
    BY_WORTH,
    CHANCE,
    CLOSE,
    DISPUTED,
    EXPIRED,
    FREE,
    MEASURING,
    OPEN,
    ORDINARY,
    SURE,
    Assignment,
)
from apps.rankings.selectors.queue import held
from apps.rankings.services.counts import counted, counts_add
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison, annotatable
from apps.samples.services import EVALUATION
from prefloop.seeds import derive_seed
from prefloop.types import ANSWERS

_LANE_OF_CODE = {"orders": DISPUTED, "judges": DISPUTED, "margin": CLOSE}


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
    """Add or remove free seats, each in its lane, and return the comparisons that had none and have some.

    The caller has locked the comparisons.
    """
    new: list[tuple[int, int, str, int]] = []
    gone: list[int] = []
    plans = _plans(project_id, comparison_ids)
    for pk, plan in plans.items():
        kept = plan.kept
        gone += [seat for seat, _ in plan.free if seat not in kept]
        new += [(project_id, pk, FREE, plan.lane)] * (plan.n - len(kept))
    if gone:
        Assignment.objects.filter(pk__in=gone, state=FREE).delete()
    rows_insert(Assignment, ("project_id", "comparison_id", "state", "priority"), new)
    return {comparison for _, comparison, *_ in new if not plans[comparison].free}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many free seats a comparison should have, in which lane, and those that it has: (id, lane)."""

    n: int
    lane: int
    free: Sequence[tuple[int, int]]

    @property
    def kept(self) -> list[int]:
        return [seat for seat, lane in self.free if lane == self.lane][: self.n]


def _plans(project_id: int, comparison_ids: Sequence[int]) -> dict[int, _Plan]:
    """Plan the free seats of comparisons from the rows themselves. An excluded person's vote is still wanted of
    somebody else.
    """
    wanted, share = Project.objects.values_list("votes_per_comparison", "random_share").get(pk=project_id)
    here = Comparison.objects.filter(pk__in=comparison_ids, project=project_id)
    for_people = set(here.filter(ready(), annotatable()).values_list("pk", flat=True))
    on_this = Q(comparison=OuterRef("pk"))
    rows = here.order_by("pk").values_list(
        "pk",
        "origin",
        _count(counting_votes().filter(on_this, choice__in=ANSWERS)),
        _count(Assignment.objects.filter(on_this, state=OPEN)),
    )
    free = _free(comparison_ids)
    found = list(rows)
    n_wanted = {pk: max(0, wanted - n_said - n_held) if pk in for_people else 0 for pk, _, n_said, n_held in found}
    lane = _lanes_of([(pk, origin) for pk, origin, *_ in found if n_wanted[pk]], project_id, share)
    return {pk: _Plan(n, lane.get(pk, ORDINARY), free.get(pk, ())) for pk, n in n_wanted.items()}


def n_seats_wrong(project: Project) -> int:
    """How many free seats are missing, too many, or in another lane than they should be; only for checks."""
    ids = list(Comparison.objects.filter(project=project).order_by("pk").values_list("pk", flat=True))
    plans = (plan for some in chunks(ids, CHUNK) for plan in _plans(project.pk, some).values())
    return sum(max(plan.n, len(plan.free)) - len(plan.kept) for plan in plans)


def _free(comparison_ids: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """The free seats of comparisons, the oldest first, each with its lane."""
    found: dict[int, list[tuple[int, int]]] = {}
    rows = Assignment.objects.filter(comparison__in=comparison_ids, state=FREE).order_by("pk")
    for comparison, seat, priority in rows.values_list("comparison_id", "pk", "priority"):
        found.setdefault(comparison, []).append((seat, priority))
    return found


def _lanes_of(comparisons: Sequence[tuple[int, str]], project_id: int, share: int) -> dict[int, int]:
    """The lane of each comparison, given with its origin: an evaluation's, the random share's, or by worth."""
    worth: dict[int, int] = {}
    said = ReviewItem.objects.filter(comparison__in=[pk for pk, _ in comparisons])
    for pk, code in said.values_list("comparison_id", "code"):
        worth[pk] = min(worth.get(pk, SURE), _LANE_OF_CODE.get(code, SURE), key=BY_WORTH.index)
    return {
        # an evaluation's few pairs first: they would come last, and a round is known by them
        pk: MEASURING
        if origin.startswith(EVALUATION)
        else CHANCE
        if derive_seed(project_id, "annotate", pk) / 2**63 < share / 100
        else worth.get(pk, ORDINARY)
        for pk, origin in comparisons
    }


def seats_weigh(comparison_ids: Sequence[int]) -> None:
    """Put the free seats of comparisons into the lanes of what judges say now; the caller has locked them.

    Seats are given by rising ids, so a seat that changes its lane gets a new one. How many there are stays the same.
    """
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        free = _free(ids)
        here = Comparison.objects.filter(pk__in=free).select_related("project")
        of_project: dict[Project, list[tuple[int, str]]] = {}
        for comparison in here.only("origin", "project__random_share").order_by("pk"):
            of_project.setdefault(comparison.project, []).append((comparison.pk, comparison.origin))
        for project, some in of_project.items():
            lane = _lanes_of(some, project.pk, project.random_share)
            wrong = [seat for pk, _ in some for seat, priority in free[pk] if priority != lane[pk]]
            # somebody may be about to take one: that one stays theirs
            moving = Assignment.objects.filter(pk__in=wrong, state=FREE).select_for_update(
                skip_locked=True, of=("self",)
            )
            moved = dict(moving.values_list("pk", "comparison_id"))
            Assignment.objects.filter(pk__in=moved).delete()
            new = [(project.pk, pk, FREE, lane[pk]) for _, pk in sorted(moved.items())]
            rows_insert(Assignment, ("project_id", "comparison_id", "state", "priority"), new)


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


def seats_wanted_changed(project: Project) -> None:
    """Settle the seats after the project asks for another number of votes, or random share; for many in a job."""
    if Comparison.objects.filter(project=project).count() > AT_ONCE:
        title = "Bring the queue to the project's new rules"
        job_enqueue(kind="rankings.seats", queue="cpu", payload={}, project=project, title=title)
    else:
        seats_settle(project=project)


def votes_excluded(project: Project, comparison_ids: Sequence[int]) -> None:
    """Ask for other votes in place of those that count no more, or not after all."""
    seats_settle(project=project, comparison_ids=comparison_ids)


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
