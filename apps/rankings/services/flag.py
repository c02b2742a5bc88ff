"""Flagging a pair for a lead, and resolving a flag. The person may answer the pair all the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, QuerySet

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import PairFlag
from apps.labels.raters import rater_name
from apps.rankings.models import Assignment
from apps.rankings.services.finish import said_when
from apps.rankings.services.vote import MAX_REASON
from apps.samples.locks import comparisons_lock
from prefloop.records import FLAG_REASONS
from prefloop.types import PrefloopError


class BadFlag(PrefloopError):
    """An invalid flag."""


@dataclass(frozen=True, slots=True)
class Flagged:
    flag: PairFlag
    created: bool


def flag_create(
    *, assignment: Assignment, reason: str, now: datetime, note: str = "", said_at: datetime | None = None
) -> Flagged:
    """Flag the pair that a person was given; it need not be theirs any more. The same open flag is stored once.

    `said_at`: when they flagged it, if earlier than now (offline). Raises BadFlag.
    """
    user = assignment.holder
    made = PairFlag(
        comparison_id=assignment.comparison_id, user=user, reason=reason, note=note, at=said_when(said_at, now)
    )
    flag_check(made)
    with transaction.atomic():
        comparisons_lock([assignment.comparison_id])
        return flag_keep(made, rater=rater_name(user, assignment.comparison))


def flag_check(flag: PairFlag) -> None:
    """Raise BadFlag for one that can't be stored."""
    if flag.reason not in FLAG_REASONS:
        raise BadFlag(f"reason must be one of {', '.join(FLAG_REASONS)}, not {flag.reason!r}")
    if len(flag.note) > MAX_REASON:
        raise BadFlag(f"a note has at most {MAX_REASON:,} characters")


def flag_keep(flag: PairFlag, *, rater: str) -> Flagged:
    """Store a new flag unless the person has the same one open. The caller has locked what it is on."""
    flag.rater, flag.note = rater, flag.note.strip()
    mine = PairFlag.objects.filter(comparison=flag.comparison_id, completion=flag.completion_id, user=flag.user)
    same = mine.filter(resolved_at=None, reason=flag.reason, note=flag.note).first()
    if same is not None:
        return Flagged(same, created=False)
    flag.save(force_insert=True)
    return Flagged(flag, created=True)


def flag_withdraw(*, assignment: Assignment, now: datetime) -> int:
    """Take back what a person flagged on the pair that they were given: it waits for nobody any more, and stays in the
    pair's history. Returns how many flags these were; 0 if there were none, or none any more.
    """
    mine = PairFlag.objects.filter(comparison=assignment.comparison_id)
    return flags_take_back(mine, user=assignment.holder, now=now)


def flags_take_back(flags: QuerySet[PairFlag], *, user: User, now: datetime) -> int:
    """Resolve those of these flags that are the person's own and open; returns how many they were."""
    with transaction.atomic():
        mine = flags.filter(user=user, resolved_at=None)
        first = mine.first()
        if first is None:
            return 0
        n = mine.update(resolved_at=now, resolved_by=F("rater"))
        audit(actor=user, verb="flag.withdraw", target=first.target, project=first.project, data={"n": n})
    return n


def flag_resolve(*, flag: PairFlag, by: User, now: datetime, resolved: bool = True) -> PairFlag:
    """Resolve a flag, or open it again. Whoever is second changes nothing."""
    with transaction.atomic():
        rows = PairFlag.objects.filter(pk=flag.pk, resolved_at__isnull=resolved)
        when, who = (now, by.username) if resolved else (None, "")
        if rows.update(resolved_at=when, resolved_by=who):
            audit(
                actor=by,
                verb="flag.resolve" if resolved else "flag.reopen",
                target=flag.target,
                project=flag.project,
                data={"flag": flag.pk, "reason": flag.reason},
            )
    flag.refresh_from_db()
    return flag
