"""Approving a checkpoint for use: by one person, once, with time and note; every step is in the audit log."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.policies.models import Checkpoint
from prefloop.types import PrefloopError

NOTE_CHARS = 2000


class ApprovalRefused(PrefloopError):
    """Somebody else was first, or the note is too long."""


def checkpoint_approve(*, checkpoint: Checkpoint, note: str, by: User, now: datetime) -> None:
    """Approve a checkpoint that is not approved. Of two people at once the second learns who was first."""
    note = note.strip()
    if len(note) > NOTE_CHARS:
        raise ApprovalRefused(f"a note has {NOTE_CHARS:,} characters at most, not {len(note):,}")
    with transaction.atomic():
        # compare and set: it is approved only if it still is not
        changed = Checkpoint.objects.filter(pk=checkpoint.pk, approved_at__isnull=True).update(
            approved_at=now, approved_by=by, approval_note=note
        )
        if not changed:
            checkpoint.refresh_from_db()
            raise ApprovalRefused(f"{checkpoint.name} is approved already, by {checkpoint.approved_by or 'someone'}")
        _audit(checkpoint, "checkpoint.approve", by, note)
    checkpoint.refresh_from_db()


def approval_withdraw(*, checkpoint: Checkpoint, seen: str, by: User) -> None:
    """Withdraw the approval that the person saw: `seen` is its time (ISO 8601). A newer one stays."""
    try:
        moment = datetime.fromisoformat(seen)
    except ValueError:
        moment = None
    with transaction.atomic():
        note = Checkpoint.objects.filter(pk=checkpoint.pk).values_list("approval_note", flat=True).first() or ""
        changed = (
            moment is not None
            and moment.tzinfo is not None
            and Checkpoint.objects.filter(pk=checkpoint.pk, approved_at=moment).update(
                approved_at=None, approved_by=None, approval_note=""
            )
        )
        if not changed:
            raise ApprovalRefused(
                f"the approval of {checkpoint.name} has changed since you loaded the page: check it again"
            )
        _audit(checkpoint, "checkpoint.withdraw_approval", by, note)
    checkpoint.refresh_from_db()


def _audit(checkpoint: Checkpoint, verb: str, by: User, note: str) -> None:
    audit(
        actor=by,
        verb=verb,
        target=f"checkpoint:{checkpoint.name}",
        project=checkpoint.project,
        data={"fingerprint": checkpoint.fingerprint, "note": note},
    )
