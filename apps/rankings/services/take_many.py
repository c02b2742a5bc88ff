"""Taking many seats at once: a statement or two for each lane of the queue, however many they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from apps.rankings.models import BY_WORTH, CHANCE, FREE, MEASURING, OPEN, Assignment, Place
from apps.rankings.selectors.queue import open_assignments
from apps.rankings.services.counts import counts_add, places_change, tally
from apps.rankings.services.take import Asking, free_for, lock_clause

_COINS = 64


def seats_take(asked: Asking, n: int, rng: Random) -> tuple[list[Assignment], Place]:
    """Lease up to n seats to this person, each of another comparison, in the project's order; and their place after it.

    As many of them are of the random share as n draws by themselves would take of it. What somebody else has locked is
    passed over: `seat_take` finds it later.
    """
    try:
        with transaction.atomic():
            taken = _taken(asked, n, rng)
            if not taken:
                return [], asked.place
            reached = dict(asked.place.reached)
            for seat in taken:
                reached[str(seat.priority)] = max(seat.pk, reached.get(str(seat.priority), 0))
            counts_add(asked.project.pk, _changes(asked.user.pk, [seat.comparison_id for seat in taken]))
            place = places_change(asked.place, reached=reached)[asked.user.pk]
    except IntegrityError:  # the same person, in another tab, took a seat of one of these comparisons
        return [], asked.place
    return taken, place


def _taken(asked: Asking, n: int, rng: Random) -> list[Assignment]:
    coins = f"{rng.getrandbits(_COINS):0{_COINS}b}"  # a seat's id says which of them lays out its sides
    ids = _update(asked, MEASURING, n, coins)
    by_chance = sum(rng.random() < asked.project.random_share / 100 for _ in range(n - len(ids)))
    for lane, most in ((CHANCE, len(ids) + by_chance), *((lane, n) for lane in (*BY_WORTH, CHANCE))):
        if len(ids) < most:
            ids += _update(asked, lane, most - len(ids), coins)
    rows = open_assignments(project=asked.project, user=asked.user).filter(pk__in=ids)
    return sorted(rows, key=lambda seat: (seat.priority != MEASURING, seat.pk))


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
        return [int(pk) for (pk,) in cursor.fetchall()]


def _first_of_each(seats: QuerySet[Assignment]) -> QuerySet[Assignment]:
    """A comparison has as many free seats as votes are wanted of it; a person takes one."""
    earlier = Assignment.objects.filter(comparison=OuterRef("comparison"), state=FREE, user=None, pk__lt=OuterRef("pk"))
    return seats.filter(~Exists(earlier))


def _changes(user: int, comparisons: Sequence[int]) -> Counter[tuple[int | None, str]]:
    """How the counts change: a comparison is met by this person now, and some have no free seat any more."""
    after = tally(comparisons)
    closed = set(comparisons) - after.open
    changes: Counter[tuple[int | None, str]] = Counter()
    changes[None, "n_open"] -= len(closed)
    changes[user, "n_blocked"] += len(after.open)
    for who, comparison in after.met:
        if comparison in closed and who != user:
            changes[who, "n_blocked"] -= 1
    return changes
