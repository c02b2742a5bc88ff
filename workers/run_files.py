"""A run's directory while its process trains: brought from the store at the beginning, and stored again and again.

What the store has is always a whole state of the directory: a checkpoint with the events up to it, and those since. A
worker on another machine goes on from the last state whose version the run's row names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import structlog
from django.db import transaction

from apps.core.store import weights
from apps.jobs.registry import JobContext
from apps.policies.store import store_path
from apps.training.models import TrainingRun
from apps.training.sets.directories import bring_named, run_dir_here, run_dir_push
from prefloop.interrupting import interrupted_by
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import EVENTS_FILE, read_spec
from prefloop.store import DamagedArtifact, StoreUnavailable

log = structlog.get_logger()
STORE_SECONDS = 30.0  # between two states, if nothing asks for one earlier
JUDGED_SECONDS = 5.0  # what a judge said costs money to ask again
_JUDGED = ("verdict", "score", "calls")


def settle_moved() -> None:
    """Let the cache give up directories of runs that went on on another machine, or have ended."""
    for name in weights().changing():
        run = TrainingRun.objects.filter(run_dir=name).first()
        if run is None or run.output_id is not None or not weights().has(name, run.stored_version):
            weights().settle(name)


class RunFiles:
    """The directory of one run in the hands of one worker. Does nothing where the store is a directory."""

    def __init__(self, ctx: JobContext, run: TrainingRun) -> None:
        self._ctx, self._run = ctx, run
        self._shared = weights().remote is not None
        self._due = threading.Condition()
        self._at, self._ended = monotonic() + STORE_SECONDS, False
        self._stored = ""  # a version that the row does not name yet
        self._older: list[str] = []  # versions that nobody needs any more

    def bring(self) -> Path:
        """Return the directory, with everything that its specification names.

        Raises NotStored, StoreUnavailable, DamagedArtifact.
        """
        run = self._run
        if not self._shared:
            return store_path(run.run_dir)
        settle_moved()
        is_ours = weights().has(run.run_dir, run.stored_version)
        directory = run_dir_here(run, changes=True)
        if not is_ours:
            # the worker before may have told more than it stored: that is done again
            events = directory / EVENTS_FILE
            whole = events.read_bytes().rfind(b"\n") + 1 if events.exists() else 0
            with self._ctx.fenced():
                run.events_offset = min(run.events_offset, whole)
                run.save(update_fields=["events_offset"])
            self._stored = run_dir_push(run)  # from now on, what that worker would still store is not the newest
            with self._ctx.fenced():
                self.name_stored()
        bring_named(run, read_spec(directory))
        return directory

    @contextmanager
    def stored(self) -> Iterator[None]:
        """Store the directory while the block lasts."""
        if not self._shared:
            yield
            return
        thread = threading.Thread(target=self._work, name="run-files", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._due:
                self._ended = True
                self._due.notify_all()
            thread.join()

    def heard(self, events: Sequence[Event]) -> None:
        """Note what the process said: a checkpoint is stored at once, and what a judge said soon."""
        kinds = {event.type for event in events}
        if "checkpoint" in kinds:
            self._hurry(0.0)
        elif kinds & set(_JUDGED):
            self._hurry(JUDGED_SECONDS)

    def name_stored(self) -> None:
        """Let the run's row name what was stored last, in the caller's transaction, which holds the job."""
        with self._due:
            version, self._stored = self._stored, ""
            if version:
                TrainingRun.objects.filter(pk=self._run.pk).update(stored_version=version)
                transaction.on_commit(partial(self._older.append, self._run.stored_version))
                self._run.stored_version = version
                self._due.notify_all()

    def end(self, *, told: Callable[[str], None] | None = None) -> None:
        """Store the last state; the process has ended. With `told`, a store that fails is said there and no error."""
        if not self._shared:
            return
        try:
            with interrupted_by(lambda: None):
                self._stored = run_dir_push(self._run)
                with self._ctx.fenced():
                    self.name_stored()
                self._forget_older(keep=0)
        except (StoreUnavailable, DamagedArtifact) as error:
            if told is None:
                raise
            told(f"the run's last state is on this machine alone: {error}")
        else:
            weights().settle(self._run.run_dir)

    def _hurry(self, seconds: float) -> None:
        with self._due:
            self._at = min(self._at, monotonic() + seconds)
            self._due.notify_all()

    def _work(self) -> None:
        while self._is_due():
            try:
                version = run_dir_push(self._run)
                self._forget_older(keep=1)  # a page may be reading the one before
            except (StoreUnavailable, DamagedArtifact, OSError) as error:
                log.warning("run_not_stored", run=self._run.pk, error=str(error))
            else:
                with self._due:
                    self._stored = version

    def _is_due(self) -> bool:
        """Wait until a state is to be stored, and the one before is named; False at the end."""
        with self._due:
            while not self._ended:
                left = self._at - monotonic()
                if left <= 0 and not self._stored:
                    self._at = monotonic() + STORE_SECONDS
                    return True
                self._due.wait(left if left > 0 else None)
            return False

    def _forget_older(self, *, keep: int) -> None:
        while len(self._older) > keep:
            weights().drop(self._run.run_dir, self._older.pop(0))
