"""Running jobs in the foreground of a command, with a progress line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from apps.jobs.context import JobContext
from apps.jobs.drain import drain_until
from apps.jobs.identity import worker_name
from apps.jobs.models import JobGroup
from prefloop.types import PrefloopError


class GroupFailed(PrefloopError):
    """A job of the group failed; the text gives the cause."""


class ProgressLine:
    """One line on stderr that is overwritten; separate lines if stderr is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tty = sys.stderr.isatty()
        self._last = ""
        self._at = 0.0

    def __call__(self, ctx: JobContext, step: int, n_steps: int, message: str) -> None:
        text = f"{ctx.kind}: {message} ({step}/{n_steps})"
        now = time.monotonic()
        if self._quiet or text == self._last or (now - self._at < (0.2 if self._tty else 5.0) and step < n_steps):
            return
        self._last, self._at = text, now
        end = "\x1b[K\r" if self._tty else "\n"
        sys.stderr.write(f"  {text}{end}")
        sys.stderr.flush()

    def done(self) -> None:
        if self._tty and self._last:
            sys.stderr.write("\x1b[K")


def run_until(done: Callable[[], bool], *, quiet: bool = False, **options: Any) -> None:
    """Drain both queues here until `done`; another worker may take some of the jobs."""
    line = ProgressLine(quiet=quiet)
    drain_until(done, queues=["gpu", "cpu"], worker_name=worker_name(queue="foreground"), on_progress=line, **options)
    line.done()


def run_group(group: JobGroup, *, quiet: bool = False) -> None:
    """Run the jobs of a group to their end, and no others, even if those have waited longer.

    Raises GroupFailed with the newest failure.
    """

    def done() -> bool:
        group.refresh_from_db()
        return group.open_count == 0

    run_until(done, quiet=quiet, group_id=group.pk)
    failed = group.jobs.filter(state="failed").order_by("-id").first()
    if failed is not None:
        raise GroupFailed(f"{failed.failure_class}: {failed.error}")
