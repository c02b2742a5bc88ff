"""Taking the next free seat, by one conditional statement, from where a person is in the project's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from apps.accounts.models import User
from apps.labels.selectors import standing_votes
from apps.projects.models import Project
from apps.rankings.models import GOLD, OPEN, Assignment, Place, batch_lanes, lanes
from apps.rankings.selectors.queue import open_assignments
from apps.rankings.services.counts import Answer, Question, counts_add, place_of, places_change, tally
from apps.rankings.services.seats import leases_sweep
from apps.samples.exposure import seen_by_anybody, unseen_by
from apps.samples.models import Comparison

LEASE = timedelta(minutes=15)
_LANE, _REACHED = 2**15 - 1, 2**62  # stand for a lane and a seat's id in a query that is filled in


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a pair, and with what it is given."""

    place: Place
    project: Project
    user: User
    now: datetime
    order: str  # how the sides will be shown
    lanes: tuple[int, ...]  # where to look, in this order
    guideline: str
    comparison: Comparison | None = None  # this one and no other
    waits: bool = False  # for seats that somebody else has locked, rather than passing over them

    @property
    def until(self) -> datetime:
        return self.now + LEASE


@dataclass(frozen=True, slots=True)
class Taken:
    assignment: Assignment
    place: Place  # as it is now
    shared: Place  # the project's
    n_held: int


def asking(
    *,
    project: Project,
    user: User,
    now: datetime,
    rng: Random,
    guideline: str,
    place: Place | None = None,
    gold: bool = False,
) -> Asking:
    """`gold`: the next pair is one of those whose answer is known."""
    place = place or place_of(project, user)
    return Asking(place, project, user, now, _order(rng), _lanes(project, user, rng, gold=gold), guideline)


def asking_again(asked: Asking, place: Place, rng: Random) -> Asking:
    """Ask for one more pair, with sides and lanes drawn anew."""
    return replace(asked, place=place, order=_order(rng), lanes=_lanes(asked.project, asked.user, rng))


def _order(rng: Random) -> str:
    return rng.choice(("01", "10"))


def _lanes(project: Project, user: User, rng: Random, *, gold: bool = False) -> tuple[int, ...]:
    ahead, behind = batch_lanes(project, user.pk)
    found = lanes(by_chance=rng.random() < project.random_share / 100)
    return (*((GOLD,) if gold else ()), *ahead, *found, *behind)


def seat_take(asked: Asking) -> Taken | None:
    """Lease the next seat to this person; None if there is none for them.

    It looks only at seats past those that they or others have dealt with. What was passed over because somebody else
    had it locked is found at the end, when their counts say that something is left.
    """
    taken = _take_alone(asked)
    if taken is not None or not asked.place.reached:
        return taken
    shared = Place.objects.filter(project=asked.project, user=None).first()
    place = place_of(asked.project, asked.user)
    if shared is None or shared.n_open <= place.n_blocked:
        return None
    place.reached = {}
    return _take_alone(replace(asked, place=place, waits=True))


def seat_take_late(asked: Asking) -> Taken | None:
    """Lease the next seat where there was none, once leases that ran out are let again."""
    leases_sweep(project=asked.project, now=asked.now, but_of=asked.user.pk)
    return seat_take(replace(asked, place=place_of(asked.project, asked.user)))


def seat_take_of(asked: Asking, comparison: Comparison) -> Taken | None:
    """Lease a seat of exactly this comparison, by the first criterion that they have not answered; None if it has none
    for this person.
    """
    return _take_alone(replace(asked, comparison=comparison, lanes=(*asked.lanes, GOLD), waits=True))


def _take_alone(asked: Asking) -> Taken | None:
    try:
        with transaction.atomic():
            return seat_take_within(asked)
    except IntegrityError:  # the same person, in another tab, took a seat of the same comparison
        return None


def seat_take_within(asked: Asking, answer: Answer | None = None) -> Taken | None:
    """Take the next seat in the caller's transaction, and write `answer` to the place with it.

    Raises IntegrityError if the same person takes a seat of the same comparison elsewhere.
    """
    seat = _seat_update(asked)
    if seat is None:
        return None
    taken = _read(asked, seat)
    sides_kept(asked.user, [taken])
    place = asked.place
    reached = dict(place.reached)
    if asked.comparison is None:
        reached[str(taken.priority)] = taken.pk
    n_open, n_gold = -1, 0
    if taken.priority == GOLD:
        n_open, n_gold = 0, 1
    elif taken.others_met:  # type: ignore[attr-defined] # annotated
        n_open = 0
        counts_add(asked.project.pk, _changes(taken))
    now_there = places_change(place, n_open=n_open, n_gold=n_gold, reached=reached, answer=answer)
    return Taken(taken, now_there[asked.user.pk], now_there[None], taken.n_held)  # type: ignore[attr-defined]


def _seat_update(asked: Asking) -> int | None:
    """The statement: on PostgreSQL it passes over seats, and comparisons, that others have locked."""
    rows = free_for(asked.project, asked.user).filter(priority=_LANE)
    rows = rows.filter(pk__gt=_REACHED) if asked.comparison is None else rows.filter(comparison=asked.comparison)
    # written once and filled in for each lane: to put a query together takes longer than to run it
    sql, values = rows.order_by("pk").values("pk")[:1].query.sql_with_params()
    parts = [f"({sql}{lock_clause(waits=asked.waits)})"] * len(asked.lanes)
    params: list[Any] = []
    for lane in asked.lanes:
        filled = {_LANE: lane, _REACHED: asked.place.reached.get(str(lane), 0)}
        params += [filled.get(value, value) for value in values]
    table = connection.ops.quote_name(Assignment._meta.db_table)
    statement = (
        f'UPDATE {table} SET user_id = %s, "order" = %s, lease_until = %s, guideline = %s, state = %s '  # noqa: S608 - no value is in it
        f"WHERE id = COALESCE({', '.join(parts)}) AND user_id IS NULL RETURNING id"
    )
    until = connection.ops.adapt_datetimefield_value(asked.until)
    with connection.cursor() as cursor:
        cursor.execute(statement, [asked.user.pk, asked.order, until, asked.guideline, OPEN, *params])
        found = cursor.fetchone()
    return None if found is None else int(found[0])


def free_for(project: Project, user: User) -> QuerySet[Assignment]:
    same = Q(comparison=OuterRef("comparison"), criterion=OuterRef("criterion"))
    mine = standing_votes(None).filter(same, user=user)
    holding = Assignment.objects.filter(same, user=user, state=OPEN)
    # by the comparison's project too, so that the comparison is in the statement and can be locked
    rows = Assignment.objects.filter(project=project, user=None, comparison__project=project)
    return rows.filter(~Exists(mine), ~Exists(holding), unseen_by(user, "comparison"))


def lock_clause(*, waits: bool = False) -> str:
    """What a SELECT of free seats ends with, to lock them and their comparisons; "" where the database has no such."""
    if not connection.features.has_select_for_update:
        return ""
    tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in (Assignment, Comparison))
    return f" FOR NO KEY UPDATE OF {tables}{'' if waits else ' SKIP LOCKED'}"


def _read(asked: Asking, seat: int) -> Assignment:
    """Read the seat just taken as `open_assignments` does, and whether others' counts change by it."""
    here = Q(comparison=OuterRef("comparison"), criterion=OuterRef("criterion"))
    mine = Assignment.objects.filter(project=asked.project, user=asked.user, state=OPEN).order_by().values("user")
    rows = open_assignments(project=asked.project, user=asked.user).annotate(
        others_met=Exists(standing_votes(None).filter(here, user__isnull=False))
        | Exists(Assignment.objects.filter(here).exclude(pk=OuterRef("pk")))
        | seen_by_anybody("comparison"),
        n_held=Subquery(mine.annotate(n=Count("pk")).values("n")),
    )
    return rows.get(pk=seat)


def sides_kept(user: User, seats: Sequence[Assignment]) -> None:
    """Show a pair by every criterion with the sides as this person had them when they met it first."""
    named = [seat for seat in seats if seat.criterion]
    if not named:
        return
    met = Assignment.objects.filter(user=user, comparison__in={seat.comparison_id for seat in named}).exclude(order="")
    first = dict(met.order_by("-pk").values_list("comparison_id", "order"))
    turned = [seat for seat in named if seat.order != first[seat.comparison_id]]
    for seat in turned:
        seat.order = first[seat.comparison_id]
    if turned:
        Assignment.objects.bulk_update(turned, ["order"])


def _changes(taken: Assignment) -> Counter[tuple[int | None, str]]:
    """How the counts change by this seat taken, where the comparison has other seats or others have met it."""
    return changes_by_taking(taken.holder.pk, [(taken.comparison_id, taken.criterion)])


def changes_by_taking(user: int, questions: Sequence[Question]) -> Counter[tuple[int | None, str]]:
    """How the counts change: each question is met by this person now, and some have no free seat any more."""
    after = tally([comparison for comparison, _ in questions])
    closed = set(questions) - after.open
    changes: Counter[tuple[int | None, str]] = Counter()
    changes[None, "n_open"] -= len(closed)
    changes[user, "n_blocked"] += len(after.open.intersection(questions))
    for who, _ in after.met_of(closed):
        if who != user:
            changes[who, "n_blocked"] -= 1
    return changes
