"""Taking many seats at once: a statement or two for each lane of the queue, however many they are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.rankings.models import BY_WORTH, CHANCE, FREE, GOLD, MEASURING, OPEN, Assignment, Place, batch_lanes
from apps.rankings.selectors.queue import open_assignments
from apps.rankings.services.counts import counts_add, places_change
from apps.rankings.services.take import Asking, changes_by_taking, free_for, lock_clause, sides_kept

_COINS = 64


def seats_take(asked: Asking, n: int, rng: Random, gold: Sequence[int] = ()) -> tuple[list[Assignment], Place]:
    """Lease up to n seats to this person, each of another comparison or criterion, in the project's order; and their
    place after it.

    `gold`: which of them, by position, are to be gold. As many of the others are of the random share as so many draws
    by themselves would take of it. What somebody else has locked is passed over: `seat_take` finds it later.
    """
    try:
        with transaction.atomic():
            taken = _taken(asked, n, rng, gold)
            if not taken:
                return [], asked.place
            sides_kept(asked.user, taken)
            reached = dict(asked.place.reached)
            for seat in taken:
                reached[str(seat.priority)] = max(seat.pk, reached.get(str(seat.priority), 0))
            others = [(seat.comparison_id, seat.criterion) for seat in taken if seat.priority != GOLD]
            counts_add(asked.project.pk, changes_by_taking(asked.user.pk, others))
            n_gold = len(taken) - len(others)
            place = places_change(asked.place, n_gold=n_gold, reached=reached)[asked.user.pk]
    except IntegrityError:  # the same person, in another tab, took a seat of one of these comparisons
        return [], asked.place
    return taken, place


def _taken(asked: Asking, n: int, rng: Random, gold: Sequence[int]) -> list[Assignment]:
    coins = f"{rng.getrandbits(_COINS):0{_COINS}b}"  # a seat's id says which of them lays out its sides
    known = _update(asked, GOLD, len(gold), coins) if gold else []
    n -= len(known)
    ahead, behind = batch_lanes(asked.project, asked.user.pk)
    ids: list[int] = []
    for lane in (*ahead, MEASURING):
        if len(ids) < n:
            ids += _update(asked, lane, n - len(ids), coins)
    n_first = len(ids)
    by_chance = sum(rng.random() < asked.project.random_share / 100 for _ in range(n - len(ids)))
    for lane, most in ((CHANCE, len(ids) + by_chance), *((lane, n) for lane in (*BY_WORTH, CHANCE))):
        if len(ids) < most:
            ids += _update(asked, lane, most - len(ids), coins)
    n_before = len(ids)
    for lane in behind:
        if len(ids) < n:
            ids += _update(asked, lane, n - len(ids), coins)
    rows = open_assignments(project=asked.project, user=asked.user).filter(pk__in=[*known, *ids])
    turn = {pk: n for n, pk in enumerate(ids[:n_first])} | dict.fromkeys(ids[n_before:], n_first + 1)
    seats = sorted(rows, key=lambda seat: (turn.get(seat.pk, n_first), seat.pk))
    given = [seat for seat in seats if seat.priority != GOLD]
    for position, seat in zip(gold, (seat for seat in seats if seat.priority == GOLD), strict=False):
        given.insert(position, seat)
    return given


def _update(asked: Asking, lane: int, n: int, coins: str) -> list[int]:
    free = _first_of_each(free_for(asked.project, asked.user).filter(priority=lane))
    seats = free.filter(pk__gt=asked.place.reached.get(str(lane), 0)).order_by("pk").values("pk")[:n]
    sql, values = seats.query.sql_with_params()
    # PostgreSQL may run a sub-select of IN more than once, and with a lock and a limit it would then take more
    these = f"= ANY(ARRAY({sql}{lock_clause()}))" if connection.vendor == "postgresql" else f"IN ({sql})"
    table = connection.ops.quote_name(Assignment._meta.db_table)
    side = f"CASE substr(CAST(%s AS text), CAST(1 + id %% {_COINS} AS integer), 1) WHEN '0' THEN '01' ELSE '10' END"
    statement = (
        f'UPDATE {table} SET user_id = %s, "order" = {side}, lease_until = %s, guideline = %s, state = %s '  # noqa: S608 - no value is in it
        f"WHERE id {these} AND user_id IS NULL RETURNING id"
    )
    until = connection.ops.adapt_datetimefield_value(asked.until)
    with connection.cursor() as cursor:
        cursor.execute(statement, [asked.user.pk, coins, until, asked.guideline, OPEN, *values])
        return sorted(int(pk) for (pk,) in cursor.fetchall())


def _first_of_each(seats: QuerySet[Assignment]) -> QuerySet[Assignment]:
    """A comparison has as many free seats as votes are wanted of it by a criterion; a person takes one."""
    same = Q(comparison=OuterRef("comparison"), criterion=OuterRef("criterion"))
    earlier = Assignment.objects.filter(same, state=FREE, user=None, pk__lt=OuterRef("pk"))
    return seats.filter(~Exists(earlier))
