"""Flagging an answer to rate for a lead; leads resolve it as they resolve flags on pairs."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from apps.labels.models import PairFlag
from apps.labels.ratings import rating_rater
from apps.rankings.services.finish import said_when
from apps.rankings.services.flag import Flagged, flag_check, flag_keep, flags_take_back
from apps.ratings.models import RatingSeat
from apps.ratings.services.seats import answers_lock


def flag_create(
    *, seat: RatingSeat, reason: str, now: datetime, note: str = "", said_at: datetime | None = None
) -> Flagged:
    """Flag the answer that a person was given; it need not be theirs any more. The same open flag is stored once.

    `said_at`: when they flagged it, if earlier than now (offline). Raises BadFlag.
    """
    user, answer = seat.holder, seat.completion_id
    made = PairFlag(completion_id=answer, user=user, reason=reason, note=note, at=said_when(said_at, now))
    flag_check(made)
    with transaction.atomic():
        answers_lock([answer])
        return flag_keep(made, rater=rating_rater(user, seat.project, answer))


def flag_withdraw(*, seat: RatingSeat, now: datetime) -> int:
    """Take back what a person flagged on the answer that they were given; returns how many flags these were."""
    return flags_take_back(PairFlag.objects.filter(completion=seat.completion_id), user=seat.holder, now=now)
