"""Mixing answers whose right rating is known in among the others, so that nobody can tell which they are.

Each is for everybody once, at the turns that apps/rankings/gold.py draws. It has no seat of its own: it takes the place
of the answer that would come next, which gets a new free seat at the end of the queue, as one that was given back does.
So a person's seats rise in the order in which they were given, whatever they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, Case, F, Value, When
from django.utils import timezone

from apps.accounts.models import User
from apps.projects.models import Project
from apps.ratings.models import FREE, RatingSeat
from apps.ratings.selectors import gold_for, turn_of


def gold_mixed_in(project: Project, user: User, seats: Sequence[int]) -> dict[str, Any]:
    """Say how the free seats that a person is about to be given, in their order, are changed: some get a gold answer.

    The caller has locked them. The statements are the same whether one of them gets a gold answer or none does.
    """
    if not project.gold_share or not seats:
        return {}
    turns, turn = turn_of(project, user)
    unmet = list(gold_for(project, user).values_list("pk", flat=True)[: len(seats)])
    due = [seat for n, seat in enumerate(seats) if turns.is_gold(turn + n)]
    known = dict(zip(due, unmet, strict=False))
    _let_again(list(known))
    given = [When(pk=seat, then=Value(answer)) for seat, answer in known.items()]
    return {"completion": Case(*given, default=F("completion_id"), output_field=BigIntegerField())}


def _let_again(seats: Sequence[int]) -> None:
    """Make a new free seat for the answer of each of these."""
    table = connection.ops.quote_name(RatingSeat._meta.db_table)
    marks = ", ".join(["%s"] * len(seats)) or "NULL"
    statement = (
        f"INSERT INTO {table} (created_at, project_id, completion_id, guideline, state) "  # noqa: S608 - no value is in it
        f"SELECT %s, project_id, completion_id, '', %s FROM {table} WHERE id IN ({marks}) ORDER BY id"
    )
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(statement, [now, FREE, *seats])
