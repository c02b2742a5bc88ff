"""Finishing a seat: what every answer at the desk begins with, be it a vote or a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from apps.labels.models import Exclusion, Override, ReviewItem, Vote
from apps.rankings.models import DONE, EXPIRED, OPEN, Assignment, Place
from apps.samples.exposure import has_seen
from apps.samples.models import Exposure
from prefloop.types import PrefloopError


class LeaseLost(PrefloopError):
    """The person was shown a label of the comparison after it was given to them: their vote would not be blind."""

    http_status = 409


class AlreadyAnswered(PrefloopError):
    """This assignment has another answer already."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class Finished:
    """A seat that was finished. `alone`: its comparison has no other vote by the criterion and no override; `judged`:
    Review has it; `excluded`: somebody of this name is.
    """

    alone: bool = False
    judged: bool = True
    excluded: bool = False


def seat_finish(given: Assignment, place: Place) -> Finished | None:
    """Finish a held seat by one conditional statement; None if it is not held, or its holder may not vote blind."""
    quote = connection.ops.quote_name
    models = (Assignment, Vote, Override, Exposure, Exclusion, ReviewItem)
    seats, votes, overrides, exposures, exclusions, reviews = (quote(model._meta.db_table) for model in models)
    statement = (
        f"UPDATE {seats} SET state = 'done' WHERE id = %s AND state = 'open' AND NOT EXISTS "  # noqa: S608 - no value is in it
        f"(SELECT 1 FROM {exposures} e WHERE e.user_id = %s AND e.comparison_id = %s) RETURNING "
        f"NOT EXISTS (SELECT 1 FROM {votes} v WHERE v.comparison_id = %s AND v.criterion = %s) "
        f"AND NOT EXISTS (SELECT 1 FROM {overrides} o WHERE o.comparison_id = %s), "
        f"EXISTS (SELECT 1 FROM {reviews} r WHERE r.comparison_id = %s), "
        f"EXISTS (SELECT 1 FROM {exclusions} x WHERE x.project_id = %s AND x.rater = %s AND x.lifted_at IS NULL)"
    )
    key = given.comparison_id
    more = (key, key, given.project_id, place.rater)
    with connection.cursor() as cursor:
        cursor.execute(statement, [given.pk, given.user_id, key, key, given.criterion, *more])
        found = cursor.fetchone()
    if found is None:
        return None
    alone, judged, excluded = map(bool, found)
    return Finished(alone and not excluded, judged, excluded)


def seat_take_back(late: Assignment) -> None:
    """Give an ended lease its seat back. Where somebody else was given it meanwhile, they keep it, and the answer is
    one more than was wanted: nothing that a person labelled is lost. Another seat of the pair that its holder was given
    after the lease had ended is ended too. Raises LeaseLost if it would not be blind.
    """
    if has_seen(comparison_id=late.comparison_id, user=late.holder):
        raise LeaseLost("you have been shown a label of this comparison: a vote would no longer be blind")
    same = Assignment.objects.filter(comparison=late.comparison_id, criterion=late.criterion)
    if not same.filter(user=late.user_id, state=OPEN).update(state=EXPIRED):
        for seat in same.filter(user=None).values_list("pk", flat=True):
            if Assignment.objects.filter(pk=seat, user=None).delete()[0]:
                break
    Assignment.objects.filter(pk=late.pk).update(state=DONE)


def said_when(said_at: datetime | None, now: datetime) -> datetime:
    """A client's time is accepted if it is in the last week, but not in the future or the distant past."""
    if said_at is None or not now - timedelta(days=7) <= said_at <= now:
        return now
    return said_at
