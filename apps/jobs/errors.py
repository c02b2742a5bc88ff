"""Exceptions with which a handler can end."""

from __future__ import annotations

from apps.jobs.models import FailureClass


class JobFailure(Exception):
    """A classified failure: its cause, one clear line, and whether another attempt may help."""

    def __init__(self, failure_class: FailureClass | str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.failure_class = FailureClass(failure_class)
        self.retry = retry


class JobStop(BaseException):
    """The handler must leave now. A BaseException, so that a broad `except Exception` cannot swallow it."""


class JobCancelled(JobStop):
    """Somebody asked for the job to be cancelled."""


class JobFenced(JobStop):
    """The lease was lost and another worker may hold the job: write nothing more."""


class JobInterrupted(JobStop):
    """The worker is shutting down: the job goes back to the queue and this attempt does not count."""
