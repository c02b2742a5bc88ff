"""Making seats: as many free ones as votes are still wanted of a comparison."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.labels.models import ReviewItem, Vote
from apps.labels.selectors import CHUNK, counting_votes, standing_votes
from apps.labels.services import AT_ONCE
from apps.projects.models import Guideline, Project
from apps.prompts.models import ready
from apps.rankings.models import (
    BY_WORTH,
    CHANCE,
    CLOSE,
    DISPUTED,
    EXPIRED,
    FREE,
    GOLD,
    MEASURING,
    OPEN,
    ORDINARY,
    SURE,
    Assignment,
    BatchItem,
)
from apps.rankings.selectors.queue import held
from apps.rankings.services.counts import Question, counted, counts_add, gold_recount, mixed_in
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison, annotatable
from apps.samples.services import EVALUATION
from prefloop.seeds import derive_seed
from prefloop.tasks import TASKS
from prefloop.types import ANSWERS

_SEAT = ("project_id", "comparison_id", "criterion", "state", "priority")
_New = tuple[int, int, str, str, int]  # as _SEAT names
_LANE_OF_CODE = {"orders": DISPUTED, "judges": DISPUTED, "margin": CLOSE}


def seats_settle(*, project: Project, comparison_ids: Sequence[int] | None = None) -> None:
    """Give comparisons (all of the project unless ids are given) as many free seats as votes are still wanted.

    Repeating it changes nothing. Comparisons that are not for people, or of an unfinished import, get none.
    """
    whole = comparison_ids is None
    if comparison_ids is None:
        rows = Comparison.objects.filter(project=project).order_by("id")
        comparison_ids = list(rows.values_list("id", flat=True))
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        with counted(project.pk, ids):
            seats_fill(project.pk, ids)
    if whole:
        gold_recount(project)


def seats_of_new(*, project: Project, comparison_ids: Sequence[int]) -> None:
    """Make the seats of comparisons that nobody has met, in the transaction that makes them or shows them to people."""
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        with transaction.atomic():
            comparisons_lock(ids)
            opened = seats_fill(project.pk, ids)
            gold = {(pk, "") for pk in Comparison.objects.filter(mixed_in(), pk__in=ids).values_list("pk", flat=True)}
            counts_add(
                project.pk, Counter({(None, "n_open"): len(opened - gold), (None, "n_gold"): len(gold & opened)})
            )


def seats_fill(project_id: int, comparison_ids: Sequence[int]) -> set[Question]:
    """Add or remove free seats, each in its lane, and return the comparisons that had none and have some, each with the
    criterion.

    The caller has locked the comparisons.
    """
    new: list[_New] = []
    gone: list[int] = []
    plans = _plans(project_id, comparison_ids)
    for (pk, criterion), plan in plans.items():
        kept = plan.kept
        gone += [seat for seat, _ in plan.free if seat not in kept]
        new += [(project_id, pk, criterion, FREE, plan.lane)] * (plan.n - len(kept))
    if gone:
        Assignment.objects.filter(pk__in=gone, state=FREE).delete()
    rows_insert(Assignment, _SEAT, _side_by_side(new))
    return {(pk, criterion) for _, pk, criterion, *_ in new if not plans[pk, criterion].free}


def _side_by_side(new: Sequence[_New]) -> list[_New]:
    """Seats of one comparison next to each other, criterion after criterion: a person who read it answers them all.

    Comparisons stay in the order in which they come.
    """
    turns: Counter[Question] = Counter()
    places: dict[int, int] = {}
    turn = []
    for _, comparison, criterion, *_ in new:
        turn.append((places.setdefault(comparison, len(places)), turns[comparison, criterion]))
        turns[comparison, criterion] += 1
    return [new[n] for n in sorted(range(len(new)), key=lambda n: turn[n])]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many free seats a comparison should have by a criterion, in which lane, and those that it has: (id, lane)."""

    n: int
    lane: int
    free: Sequence[tuple[int, int]]

    @property
    def kept(self) -> list[int]:
        return [seat for seat, lane in self.free if lane == self.lane][: self.n]


def _plans(project_id: int, comparison_ids: Sequence[int]) -> dict[Question, _Plan]:
    """Plan the free seats of comparisons from the rows themselves, by each criterion that people are asked by. An
    excluded person's vote is still wanted of somebody else. A gold pair that is mixed in has a seat for every member.
    """
    newest = Guideline.objects.filter(project=OuterRef("pk")).order_by("-version")
    rules = Project.objects.annotate(task=Subquery(newest.values("task")[:1]), n_members=Count("memberships"))
    names = ("votes_per_comparison", "random_share", "criteria", "task", "n_members")
    wanted, share, criteria, task, n_members = rules.values_list(*names).get(pk=project_id)
    here = Comparison.objects.filter(pk__in=comparison_ids, project=project_id)
    asked = here.filter(ready(), annotatable()).exclude(gold_item__for_practice=True)
    rates = task is not None and TASKS[task].of_answers
    if rates:  # pairs of evaluations are asked all the same: a loop waits for them
        asked = asked.filter(origin__startswith=EVALUATION)
    elif task is not None and TASKS[task].of_sets:
        asked = asked.filter(asked_with=None)
    for_people = set(asked.values_list("pk", flat=True))
    on_this = Q(comparison=OuterRef("pk"))
    free = _free(comparison_ids)
    n_wanted: dict[Question, int] = dict.fromkeys(free, 0)
    origins: dict[int, str] = {}
    for criterion in criteria or ("",):
        rows = here.order_by("pk").values_list(
            "pk",
            "origin",
            _count(counting_votes(criterion).filter(on_this, choice__in=ANSWERS)),
            _count(Assignment.objects.filter(on_this, state=OPEN, criterion=criterion)),
        )
        for pk, origin, n_said, n_held in rows:
            n_wanted[pk, criterion] = max(0, wanted - n_said - n_held) if pk in for_people else 0
            origins[pk] = origin
    gold = {} if rates else _mixed_in(list(origins))
    n_wanted |= {(pk, ""): max(0, (n_members or 1) - n_met) for pk, n_met in gold.items()}
    asked_now = {pk for (pk, _), n in n_wanted.items() if n}
    lane = _lanes_of([(pk, origin) for pk, origin in origins.items() if pk in asked_now], project_id, share, gold)
    return {
        question: _Plan(n, lane.get(question[0], ORDINARY), free.get(question, ())) for question, n in n_wanted.items()
    }


def _mixed_in(comparison_ids: Sequence[int]) -> dict[int, int]:
    """Those of the comparisons that are mixed in as gold, each with how many people hold it or have answered it."""
    on_this = Q(comparison=OuterRef("pk"))
    said = _count(standing_votes().filter(on_this, user__isnull=False))
    held_now = _count(Assignment.objects.filter(on_this, state=OPEN))
    rows = Comparison.objects.filter(mixed_in(), pk__in=comparison_ids)
    return {pk: n_said + n_held for pk, n_said, n_held in rows.values_list("pk", said, held_now)}


def n_seats_wrong(project: Project) -> int:
    """How many free seats are missing, too many, or in another lane than they should be; only for checks."""
    ids = list(Comparison.objects.filter(project=project).order_by("pk").values_list("pk", flat=True))
    plans = (plan for some in chunks(ids, CHUNK) for plan in _plans(project.pk, some).values())
    return sum(max(plan.n, len(plan.free)) - len(plan.kept) for plan in plans)


def _free(comparison_ids: Sequence[int]) -> dict[Question, list[tuple[int, int]]]:
    """The free seats of comparisons by criterion, the oldest first, each with its lane."""
    found: dict[Question, list[tuple[int, int]]] = {}
    rows = Assignment.objects.filter(comparison__in=comparison_ids, state=FREE).order_by("pk")
    for comparison, criterion, seat, priority in rows.values_list("comparison_id", "criterion", "pk", "priority"):
        found.setdefault((comparison, criterion), []).append((seat, priority))
    return found


def _lanes_of(
    comparisons: Sequence[tuple[int, str]], project_id: int, share: int, gold: Container[int]
) -> dict[int, int]:
    """The lane of each comparison, given with its origin: gold, a batch's, an evaluation's, the random share's, or by
    worth.
    """
    worth: dict[int, int] = {}
    in_batch = dict(
        BatchItem.objects.filter(comparison__in=[pk for pk, _ in comparisons], batch__closed_at=None).values_list(
            "comparison_id", "batch__lane"
        )
    )
    said = ReviewItem.objects.filter(comparison__in=[pk for pk, _ in comparisons])
    for pk, code in said.values_list("comparison_id", "code"):
        worth[pk] = min(worth.get(pk, SURE), _LANE_OF_CODE.get(code, SURE), key=BY_WORTH.index)
    return {
        # an evaluation's few pairs first: they would come last, and a round is known by them
        pk: GOLD
        if pk in gold
        else in_batch[pk]
        if pk in in_batch
        else MEASURING
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
        here = Comparison.objects.filter(pk__in={pk for pk, _ in free}).select_related("project")
        of_project: dict[Project, list[tuple[int, str]]] = {}
        for comparison in here.only("origin", "project__random_share", "project__gold_share").order_by("pk"):
            of_project.setdefault(comparison.project, []).append((comparison.pk, comparison.origin))
        for project, some in of_project.items():
            gold = _mixed_in([pk for pk, _ in some]) if project.gold_share else {}
            lane = _lanes_of(some, project.pk, project.random_share, gold)
            wrong = [
                seat
                for (pk, _), seats in free.items()
                if pk in lane
                for seat, priority in seats
                if priority != lane[pk]
            ]
            # somebody may be about to take one: that one stays theirs
            moving = Assignment.objects.filter(pk__in=wrong, state=FREE).select_for_update(
                skip_locked=True, of=("self",)
            )
            moved = list(moving.order_by("pk").values_list("pk", "comparison_id", "criterion"))
            Assignment.objects.filter(pk__in=[seat for seat, *_ in moved]).delete()
            new = [(project.pk, pk, criterion, FREE, lane[pk]) for _, pk, criterion in moved]
            rows_insert(Assignment, _SEAT, _side_by_side(new))


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


def members_changed(project: Project) -> None:
    """Give gold pairs a seat for everybody who is a member now."""
    if project.gold_share:
        gold = Comparison.objects.filter(mixed_in(), project=project).order_by("pk")
        seats_settle(project=project, comparison_ids=list(gold.values_list("pk", flat=True)))


# --- what happens below, in apps that do not know of seats ------------------------------------------------------------


def comparisons_made(project: Project, comparison_ids: Sequence[int]) -> None:
    """Make the seats of new comparisons."""
    seats_of_new(project=project, comparison_ids=comparison_ids)


def seats_wanted_changed(project: Project) -> None:
    """Settle the seats after the project asks for another number of votes, random share or share of gold; for many in
    a job.
    """
    if Comparison.objects.filter(project=project).count() > AT_ONCE:
        title = "Bring the queue to the project's new rules"
        job_enqueue(kind="rankings.seats", turn=Turn.SOON, queue="cpu", payload={}, project=project, title=title)
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
        holds = set(mine.values_list("comparison_id", "project_id"))
        same = Q(comparison=OuterRef("comparison"), criterion=OuterRef("criterion"), user=user_id)
        met_already = Exists(standing_votes(None).filter(same)) | Exists(Assignment.objects.filter(same, state=OPEN))
        free = Assignment.objects.filter(here, ~met_already, user=None).exclude(priority=GOLD).order_by()
        questions = set(free.values_list("project", "comparison", "criterion"))
        blocked = list(Counter(project for project, *_ in questions).items())
        answered = standing_votes().filter(here, user=user_id).values("comparison")
        gold = Comparison.objects.filter(mixed_in(), pk__in=comparison_ids).exclude(pk__in=answered)
        gold = gold.exclude(pk__in=[comparison for comparison, _ in holds])
        met = list(gold.order_by().values("project").annotate(n=Count("pk")).values_list("project", "n"))
        yield
        for comparison, project in holds:
            with counted(project, [comparison]):
                mine.filter(comparison=comparison).update(state=EXPIRED)
                seats_fill(project, [comparison])
        changes: dict[int, Counter[tuple[int | None, str]]] = defaultdict(Counter)
        for name, found in (("n_blocked", blocked), ("n_gold", met)):
            for project, n in found:
                changes[project][user_id, name] += n
        for project in sorted(changes):
            counts_add(project, changes[project])
