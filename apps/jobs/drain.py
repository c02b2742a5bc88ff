"""Claiming and running jobs until none is claimable: after a notification, or in a foreground run."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Sequence

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection

from apps.core.origin import origin
from apps.jobs import services
from apps.jobs.context import JobContext
from apps.jobs.errors import JobCancelled, JobFailure, JobFenced, JobInterrupted
from apps.jobs.heartbeat import Heartbeat
from apps.jobs.identity import host_name
from apps.jobs.models import FailureClass, Job
from apps.jobs.registry import handler_for, load_handlers
from apps.quotas.services import QuotaReached
from prefloop.interrupting import interrupted_by
from prefloop.store import StoreUnavailable, holding
from prefloop.types import BadData, PrefloopError

log = structlog.get_logger()
Progress = Callable[[JobContext, int, int, str], None]


def drain(
    queues: Sequence[str],
    *,
    worker_name: str,
    until: Callable[[], bool] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_progress: Progress | None = None,
    group_id: int | None = None,
) -> int:
    """Run claimable jobs of these queues (with `group_id`: of that group), oldest first; return how many were run.

    `until` is asked between two jobs and ends the drain early; `stopping` is asked by `ctx.check()` too and
    interrupts the running job (it goes back to the queue).
    """
    load_handlers(queues)
    n_run = 0
    while not stopping() and not (until is not None and until()):
        _fresh_connection()
        job = services.job_claim(queues=queues, worker=worker_name, group_id=group_id)
        if job is None:
            break
        run_job(job=job, stopping=stopping, on_progress=on_progress)
        n_run += 1
    return n_run


def drain_until(
    done: Callable[[], bool],
    *,
    queues: Sequence[str],
    worker_name: str,
    poll_seconds: float = 0.2,
    stopping: Callable[[], bool] = lambda: False,
    on_progress: Progress | None = None,
    group_id: int | None = None,
) -> None:
    """For a foreground run: drain, and while another worker holds the job that we wait for, try again until `done`.

    With `group_id` only that group's jobs are run here.
    """
    while not done() and not stopping():
        services.reconcile(host=host_name())
        ran = drain(
            queues,
            worker_name=worker_name,
            until=done,
            stopping=stopping,
            on_progress=on_progress,
            group_id=group_id,
        )
        if ran == 0:
            if done():
                return
            time.sleep(poll_seconds)


def run_job(*, job: Job, stopping: Callable[[], bool] = lambda: False, on_progress: Progress | None = None) -> None:
    """Run one claimed job and record how it ended. Raises nothing that a handler raises, except KeyboardInterrupt."""
    token = job.token
    if token is None:
        raise ValueError(f"job {job.pk} is not claimed")
    with Heartbeat(job_id=job.pk, token=token) as heartbeat:
        context = JobContext(
            job_id=job.pk,
            kind=job.kind,
            queue=job.queue,
            project_id=job.project_id,
            group_id=job.group_id,
            started_by_id=job.started_by_id,
            attempt=job.attempt,
            token=token,
            payload=job.payload,
            heartbeat=heartbeat,
            stopping=stopping,
            on_progress=on_progress,
        )
        known = handler_for(job.kind)
        if known is None:
            services.job_fail(
                job_id=job.pk,
                token=token,
                failure_class=FailureClass.INTERNAL,
                error=f"no handler for {job.kind} in a worker of the {job.queue} queue",
            )
            return
        if not services.job_begin(job_id=job.pk, token=token):
            # cancelled between claim and start, or taken from us: the first is ours to finish
            services.job_leave_cancelled(job_id=job.pk, token=token)
            return
        try:
            # a pass of a large model is no reason to wait; what the job fetches from the store stays until it ends
            with origin(by=f"job {job.pk}"), holding(), interrupted_by(context.check):
                result = known.run(context)
            if not services.job_succeed(job_id=job.pk, token=token, result=result):
                log.warning("job_fenced", job=job.pk)
        except JobFenced:
            log.warning("job_fenced", job=job.pk)
        except JobCancelled:
            services.job_leave_cancelled(job_id=job.pk, token=token)
        except (JobInterrupted, KeyboardInterrupt) as stop:
            services.job_interrupt(job_id=job.pk, token=token)
            if isinstance(stop, KeyboardInterrupt):
                raise
        except Exception as error:  # noqa: BLE001 - the envelope: every failure of a handler becomes a row
            failure_class, text, retry = classify(error)
            log.warning("job_failed", job=job.pk, kind=job.kind, failure=str(failure_class), error=text)
            _fresh_connection()
            services.job_fail(job_id=job.pk, token=token, failure_class=failure_class, error=text, retry=retry)


def _fresh_connection() -> None:
    """Close a connection that the database has dropped; inside a caller's transaction that is left to the caller."""
    if not connection.in_atomic_block:
        close_old_connections()


def classify(error: Exception) -> tuple[FailureClass, str, bool]:
    """Return whose failure it was, in one line if the user can correct it, and whether another attempt may help."""
    if isinstance(error, JobFailure):
        return error.failure_class, str(error), error.retry
    if isinstance(error, StoreUnavailable):
        return FailureClass.TIMEOUT, str(error), True
    if isinstance(error, QuotaReached):
        return FailureClass.CAP_REACHED, str(error), False
    if isinstance(error, BadData):
        return FailureClass.DATA, str(error), False
    if isinstance(error, PrefloopError):
        return FailureClass.USER_CONFIG, str(error), False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return FailureClass.OUT_OF_MEMORY, str(error) or "out of memory", False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailureClass.OUT_OF_DISK, str(error), False
    if isinstance(error, TimeoutError):
        return FailureClass.TIMEOUT, str(error) or "timed out", True
    lines = "".join(traceback.format_exception(error)[-3:])
    return FailureClass.INTERNAL, lines, isinstance(error, OperationalError | InterfaceError | DatabaseError)
