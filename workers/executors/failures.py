"""Why a process failed, as its own record or its exit status tells."""

from __future__ import annotations

import signal
from pathlib import Path

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobFailure
from prefloop.recipes.runspec import FAILURE_FILE, read_failure


def failure_of(directory: Path, code: int, log_path: Path, *, what: str) -> JobFailure:
    """Say why a process failed that left its record in a directory, and remove the record: a retry starts clean."""
    said = read_failure(directory)
    if said is not None:
        (directory / FAILURE_FILE).unlink(missing_ok=True)
        # a judge that is down may come back: the work goes on from what is stored then
        return JobFailure(
            FailureClass(said.failure_class), said.message, retry=said.failure_class == "judge_unreachable"
        )
    tail = log_path.read_text("utf-8", errors="replace")[-2000:] if log_path.exists() else ""
    if code == -signal.SIGKILL:
        return JobFailure(FailureClass.OUT_OF_MEMORY, f"{what} was killed, most likely for memory", retry=True)
    return JobFailure(FailureClass.INTERNAL, f"{what} ended with {code}: {tail}", retry=code < 0)
