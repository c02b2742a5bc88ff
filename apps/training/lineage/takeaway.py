"""Exporting a checkpoint with its card, and recording it in the audit log."""

from __future__ import annotations

from pathlib import Path

from apps.accounts.models import User
from apps.core.services import audit
from apps.policies.models import Checkpoint
from apps.policies.takeaway import checkpoint_files, checkpoint_write
from apps.training.lineage.cards import card_markdown, checkpoint_card


def checkpoint_export(*, checkpoint: Checkpoint, folder: Path, by: User | None = None) -> Path:
    """Write the checkpoint with its model card to `folder`/NAME atomically.

    Raises DamagedCheckpoint, UnsafeCheckpoint, ExportRefused.
    """
    files = checkpoint_files(checkpoint, card=card_markdown(checkpoint_card(checkpoint)))
    final = checkpoint_write(checkpoint, files, folder)
    checkpoint_taken(checkpoint=checkpoint, by=by, how="command")
    return final


def checkpoint_taken(*, checkpoint: Checkpoint, by: User | None, how: str) -> None:
    """Record the export of weights in the audit log."""
    audit(
        actor=by,
        verb="checkpoint.export",
        target=f"checkpoint:{checkpoint.name}",
        project=checkpoint.project,
        data={"fingerprint": checkpoint.fingerprint, "how": how},
    )
