"""The interface of a handler: its payload, and how to report, to stop and to write safely."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.jobs import services
from apps.jobs.errors import JobCancelled, JobFenced, JobInterrupted
from apps.jobs.heartbeat import Heartbeat
from apps.jobs.models import JobEvent
from apps.jobs.pace import Pace, pace_words

LOOK_SECONDS = 2.0  # how often `check` asks the database whether the job was cancelled or lost
PROGRESS_SECONDS = 0.5  # progress is written no more often than this


@dataclass(slots=True)
class JobContext:
    """One attempt of one job.

    A handler writes its items in small transactions, `with ctx.fenced(): …`, under unique keys, so that another attempt
    continues where this one stopped; it calls `ctx.check()` between items.
    """

    job_id: int
    kind: str
    queue: str
    project_id: int | None
    group_id: int | None
    started_by_id: int | None
    attempt: int
    token: UUID
    payload: dict[str, Any]
    heartbeat: Heartbeat
    stopping: Callable[[], bool] = lambda: False
    on_progress: Callable[[JobContext, int, int, str], None] | None = None
    pace: Pace = field(default_factory=Pace)
    _looked_at: float = field(default=0.0)
    _progress_at: float = field(default=0.0)

    def check(self) -> None:
        """Raise JobFenced, JobInterrupted or JobCancelled if the handler must leave. Cheap: call it often."""
        if self.heartbeat.fenced.is_set():
            raise JobFenced(f"job {self.job_id} is no longer held by this worker")
        if self.heartbeat.cancelled.is_set():
            raise JobCancelled(f"job {self.job_id} was cancelled")
        if self.stopping():
            raise JobInterrupted(f"the worker of job {self.job_id} is shutting down")
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self.heartbeat.look()
            if self.heartbeat.fenced.is_set() or self.heartbeat.cancelled.is_set():
                self.check()

    def progress(self, step: int, n_steps: int, message: str = "") -> None:
        """Report progress. Written at most twice a second, and always at the last step."""
        each = self.pace.report(step, n_steps)
        if self.on_progress is not None:
            words = pace_words(each, n_steps - step)
            self.on_progress(self, step, n_steps, f"{message}, {words}" if words else message)
        now = time.monotonic()
        if step < n_steps and now - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = now
        if not services.job_progress(
            job_id=self.job_id, token=self.token, step=step, n_steps=n_steps, message=message, seconds_each=each
        ):
            self.heartbeat.fenced.set()
            raise JobFenced(f"job {self.job_id} is no longer held by this worker")

    def log(self, text: str, *, kind: str = "log", data: dict[str, Any] | None = None) -> None:
        """Append a line to the job's log at once, so that a killed worker loses none."""
        with self.fenced():
            JobEvent.objects.create(job_id=self.job_id, kind=kind, text=text, data=data or {})

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction that writes only while this worker holds the job; raises JobFenced otherwise.

        The first statement re-asserts the token and locks the job's row, so that nobody can take the job between
        the check and the commit.
        """
        with transaction.atomic():
            if not services.job_hold(job_id=self.job_id, token=self.token):
                self.heartbeat.fenced.set()
                raise JobFenced(f"job {self.job_id} is no longer held by this worker")
            yield
