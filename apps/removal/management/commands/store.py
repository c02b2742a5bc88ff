"""`manage.py store push|sweep|clear`: share what this machine has, or remove what nothing needs any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.store import uploads, weights
from apps.exchange.models import Upload
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_share
from apps.policies.store import store_path
from apps.removal.leftovers import cache_clear, names_sweep
from apps.training.models import Snapshot, TrainingRun
from apps.training.sets.directories import run_dir_made
from prefloop.checkpoints import DamagedCheckpoint, verify_manifest
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = (
        "push: store what this machine has of checkpoints, training sets, runs and uploads, after PREFLOOP_STORE was "
        "set to a URL. sweep: remove from the store names that nothing in the database has, and contents that nothing "
        "needs, both older than a day. clear: remove from this machine what the store has no longer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["push", "sweep", "clear"])

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.STORE_URL:
            raise CommandError("PREFLOOP_STORE is a directory: there is nothing to do")
        try:
            if options["what"] == "sweep":
                n_names = names_sweep()
                n_removed, n_bytes = weights().sweep()
                self.stdout.write(f"{n_names} names and {n_removed} contents removed, {n_bytes / 1e6:.1f} MB")
            elif options["what"] == "clear":
                self.stdout.write(f"{cache_clear()} removed from this machine")
            else:
                self.stdout.write(f"{self._push()} stored")
        except PrefloopError as error:
            raise CommandError(str(error)) from error

    def _push(self) -> int:
        """Store whatever lies at the place of a row and is what the row says."""
        n_stored = 0
        for checkpoint in Checkpoint.objects.order_by("id"):
            if self._is(store_path(checkpoint.path), checkpoint):
                checkpoint_share(store_path(checkpoint.path))
                n_stored += 1
        for snapshot in Snapshot.objects.order_by("id"):
            if store_path(snapshot.path).is_file():
                weights().push(snapshot.path, snapshot.sha256)
                n_stored += 1
        for run in TrainingRun.objects.filter(stored_version="").exclude(run_dir="").order_by("id"):
            if store_path(run.run_dir).is_dir():
                run_dir_made(run)
                n_stored += 1
        for upload in Upload.objects.filter(batch__isnull=True).order_by("id"):
            if uploads().path(upload.token).is_file():
                uploads().push(upload.token)
                n_stored += 1
        return n_stored

    def _is(self, directory: Path, checkpoint: Checkpoint) -> bool:
        try:
            return bool(verify_manifest(directory)["fingerprint"] == checkpoint.fingerprint)
        except DamagedCheckpoint as error:
            self.stderr.write(f"{checkpoint.name}: {error}")
            return False
