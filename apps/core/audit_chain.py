"""The audit log as a chain: each entry's seal covers the entry and the seal before it.

Triggers of the database refuse to change or delete entries. Whoever can drop the triggers can still do it, but not
unseen: a changed entry no longer has its seal, and a missing one leaves a gap. Seals are made with SECRET_KEY, so that
nobody who has only the database can make them again. Entries whose end of the chain was cut off are found by comparing
with a head that was noted elsewhere (`manage.py check_audit --head`).

Entries are sealed by the workers' ticks, a few seconds after they were written, and not in the transaction that writes
them: each of those would have to wait for all the others.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction

from apps.core.models import AuditEvent

AT_ONCE = 500
TRIGGERS = {
    "sqlite": ("audit_no_insert", "audit_no_change", "audit_no_delete"),
    "postgresql": ("audit_rows", "audit_truncate"),
}
_LOCK = 0x61756474  # of PostgreSQL's advisory locks: whoever seals


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the whole chain found. `head` is POSITION:SEAL of the last entry, "" if none is sealed."""

    n_sealed: int
    n_waiting: int
    head: str
    problems: list[str]


def entries_seal(now: dt.datetime) -> None:
    """Seal entries that are not sealed yet, in the order of their ids. Two workers at once seal each entry once."""
    del now  # a tick is told the time
    if not AuditEvent.objects.filter(position__isnull=True).exists():
        return
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        last = AuditEvent.objects.filter(position__isnull=False).order_by("-position").first()
        position, before = (last.position or 0, last.seal) if last is not None else (0, "")
        for row in AuditEvent.objects.filter(position__isnull=True).order_by("id")[:AT_ONCE]:
            position += 1
            before = _seal(row, position, before, settings.SECRET_KEY)
            AuditEvent.objects.filter(pk=row.pk).update(position=position, seal=before)


def chain_check(*, head: str = "") -> Checked:
    """Read the whole chain and say what is missing or changed. `head`: POSITION:SEAL that was noted before."""
    problems = [f"the database lacks the trigger {name}: entries can be changed" for name in _missing_triggers()]
    noted_position, _, noted_seal = head.partition(":")
    position, before, noted = 0, "", ""
    for row in _sealed():
        expected = position + 1
        position = row.position or 0
        if position != expected:
            gap = f"entry {expected} is" if position == expected + 1 else f"entries {expected} to {position - 1} are"
            problems.append(f"{gap} missing")
            before = ""  # the seal of the one before is not known: this entry can't be checked
        elif not _is_seal_of(row, before):
            problems.append(f"entry {position} (id {row.pk}, {row.created_at:%Y-%m-%d %H:%M}) was changed")
        before = row.seal
        if str(position) == noted_position:
            noted = row.seal
    if head and noted != noted_seal:
        problems.append(
            f"entry {noted_position} is not the one that was noted" if noted else f"the chain ends before {head}"
        )
    waiting = AuditEvent.objects.filter(position__isnull=True).count()
    return Checked(_n_sealed(), waiting, f"{position}:{before}" if position else "", problems)


def _n_sealed() -> int:
    return AuditEvent.objects.filter(position__isnull=False).count()


def _sealed() -> Iterator[AuditEvent]:
    """Sealed entries by position, some at a time: a log may be long."""
    last = 0
    while rows := list(AuditEvent.objects.filter(position__gt=last).order_by("position")[: AT_ONCE * 4]):
        yield from rows
        last = rows[-1].position or 0


def _is_seal_of(row: AuditEvent, before: str) -> bool:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(hmac.compare_digest(_seal(row, row.position or 0, before, key), row.seal) for key in keys)


def _seal(row: AuditEvent, position: int, before: str, key: str) -> str:
    said = [
        position,
        before,
        row.pk,
        row.created_at.astimezone(dt.UTC).isoformat(),
        row.actor_id,
        row.verb,
        row.target,
        row.project_slug,
        row.data,
        row.address,
        row.origin,
    ]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(hashlib.sha256(f"prefloop.audit\0{key}".encode()).digest(), text.encode(), "sha256").hexdigest()


def _missing_triggers() -> list[str]:
    """The triggers that should be there and are not: a later change of the table may have dropped them with it."""
    ask = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s"
        if connection.vendor == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgenabled = 'A'"
    )
    with connection.cursor() as cursor:
        cursor.execute(ask, [AuditEvent._meta.db_table])
        there = {name for (name,) in cursor.fetchall()}
    return [name for name in TRIGGERS[connection.vendor] if name not in there]
