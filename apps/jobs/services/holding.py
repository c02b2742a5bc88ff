"""Services for workers: claim, renew and end jobs, and return jobs that no living worker holds.

Everything a worker writes is conditional on its fencing token.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from apps.core.listeners import Listeners
from apps.jobs.clock import database_now
from apps.jobs.fairness import may_run, next_jobs
from apps.jobs.identity import worker_is_gone
from apps.jobs.machine import HELD, transition
from apps.jobs.models import FailureClass, Job, JobState

STATE_DEADLINE = dt.timedelta(seconds=180)  # of STARTING and CANCELLING
MAX_BACKOFF_SECONDS = 60
JOB_FAILED: Listeners[int, str, str] = Listeners()  # the job's id, its failure class, its error


@dataclass(frozen=True, slots=True)
class Reconciled:
    n_requeued: int = 0
    n_failed: int = 0
    n_cancelled: int = 0


def lease() -> dt.timedelta:
    return dt.timedelta(seconds=float(settings.JOB_LEASE_SECONDS))


def job_claim(*, queues: Sequence[str], worker: str, group_id: int | None = None) -> Job | None:
    """Claim the next job of these queues by one conditional UPDATE, or say that there is none (see `fairness`).

    With `group_id` only the jobs of that group are looked at.
    """
    while True:
        now = database_now()
        candidates = next_jobs(queues=queues, now=now, group_id=group_id)
        if not candidates:
            return None
        for job_id in candidates:
            with transaction.atomic():
                claimed = may_run(job_id) and transition(
                    job_id=job_id,
                    to=JobState.STARTING,
                    from_states=[JobState.QUEUED],
                    where=(Q(run_after__isnull=True) | Q(run_after__lte=now)) & Q(attempt__lt=F("max_attempts")),
                    text=f"claimed by {worker}",
                    attempt=F("attempt") + 1,
                    token=uuid.uuid4(),
                    worker=worker,
                    lease_until=now + lease(),
                    started_at=now,
                    cancel_requested_at=None,
                )
            if claimed:
                return Job.objects.get(pk=job_id)


def job_begin(*, job_id: int, token: uuid.UUID) -> bool:
    """The handler is loaded and starts now."""
    return transition(
        job_id=job_id, to=JobState.RUNNING, from_states=[JobState.STARTING], held_by=token, text="running"
    )


def job_heartbeat(*, job_id: int, token: uuid.UUID) -> tuple[bool, bool]:
    """Renew the lease; one round trip. Returns (still held, cancelling asked for)."""
    states = ", ".join(["%s"] * len(HELD))
    table = connection.ops.quote_name(Job._meta.db_table)
    token_value = Job._meta.get_field("token").get_db_prep_value(token, connection)
    until = connection.ops.adapt_datetimefield_value(database_now() + lease())
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET lease_until = %s WHERE id = %s AND token = %s AND state IN ({states}) "  # noqa: S608
            "RETURNING cancel_requested_at",
            [until, job_id, token_value, *[str(state) for state in HELD]],
        )
        row = cursor.fetchone()
    return (False, False) if row is None else (True, row[0] is not None)


def job_hold(*, job_id: int, token: uuid.UUID) -> bool:
    """Confirm in the current transaction that this worker still holds the job; locks the row until commit."""
    return Job.objects.filter(pk=job_id, token=token, state__in=HELD).update(token=token) == 1


def job_progress(
    *, job_id: int, token: uuid.UUID, step: int, n_steps: int, message: str, seconds_each: float | None = None
) -> bool:
    rows = Job.objects.filter(pk=job_id, token=token, state__in=HELD)
    return rows.update(step=step, n_steps=n_steps, message=message[:300], seconds_each=seconds_each) == 1


def job_succeed(*, job_id: int, token: uuid.UUID, result: Mapping[str, Any] | None) -> bool:
    """End successfully. False: the job is no longer this worker's, and nothing was written."""
    return transition(
        job_id=job_id,
        to=JobState.SUCCEEDED,
        from_states=[JobState.RUNNING, JobState.CANCELLING],
        held_by=token,
        text="succeeded",
        result=dict(result or {}),
        **ended_fields(),
    )


def job_fail(
    *, job_id: int, token: uuid.UUID, failure_class: FailureClass | str, error: str, retry: bool = False
) -> bool:
    """End as failed, or, with `retry` and attempts left, return to the queue after 2, 4, 8 … 60 seconds."""
    job = Job.objects.only("attempt", "max_attempts").get(pk=job_id)
    failure = FailureClass(failure_class)
    if retry and job.attempt < job.max_attempts:
        seconds = min(2**job.attempt, MAX_BACKOFF_SECONDS)
        if transition(
            job_id=job_id,
            to=JobState.QUEUED,
            from_states=[JobState.STARTING, JobState.RUNNING],
            held_by=token,
            text=f"{failure}: {error}; again in {seconds} s",
            run_after=database_now() + dt.timedelta(seconds=seconds),
            **_given_back(),
        ):
            return True
    with transaction.atomic():
        failed = transition(
            job_id=job_id,
            to=JobState.FAILED,
            from_states=list(HELD),
            held_by=token,
            text=f"{failure}: {error}",
            failure_class=failure,
            error=error,
            **ended_fields(),
        )
        if failed:
            JOB_FAILED.tell(job_id, str(failure), error)
    return failed


def job_leave_cancelled(*, job_id: int, token: uuid.UUID) -> bool:
    """Record that the handler left because of a cancellation."""
    return transition(
        job_id=job_id,
        to=JobState.CANCELLED,
        from_states=list(HELD),
        held_by=token,
        text="cancelled",
        **ended_fields(),
    )


def job_interrupt(*, job_id: int, token: uuid.UUID) -> bool:
    """Return the job to the queue because the worker shuts down; the attempt does not count."""
    return transition(
        job_id=job_id,
        to=JobState.QUEUED,
        from_states=[JobState.STARTING, JobState.RUNNING],
        held_by=token,
        text="returned to the queue: its worker is shutting down",
        attempt=F("attempt") - 1,
        **_given_back(),
    ) or job_leave_cancelled(job_id=job_id, token=token)


def reconcile(*, host: str = "", now: dt.datetime | None = None) -> Reconciled:
    """Return jobs that no living worker holds to the queue, and end transitional states that last too long.

    Looks at expired leases, at workers of `host` whose process is gone (without waiting for their leases), and at
    STARTING and CANCELLING past their deadline. Each job goes back to the queue, or, with no attempts left, fails as
    `worker_lost`; jobs to be cancelled are cancelled. Any number of workers may do this at the same time.
    """
    now = now or database_now()
    overdue = (
        Q(lease_until__isnull=True)
        | Q(lease_until__lt=now)
        | Q(state=JobState.STARTING, started_at__lt=now - STATE_DEADLINE)
        | Q(state=JobState.CANCELLING, cancel_requested_at__lt=now - STATE_DEADLINE)
    )
    lost = [(job, "its lease ran out") for job in Job.objects.filter(overdue, state__in=HELD).order_by("id")]
    seen = {job.pk for job, _ in lost}
    if host:
        here = Job.objects.filter(state__in=HELD, worker__contains=f"@{host}:").order_by("id")
        lost += [(job, "its worker is gone") for job in here if job.pk not in seen and worker_is_gone(job.worker)]
    ends = [release_lost(job=job, now=now, why=why) for job, why in lost]
    return Reconciled(
        n_requeued=ends.count(JobState.QUEUED),
        n_failed=ends.count(JobState.FAILED),
        n_cancelled=ends.count(JobState.CANCELLED),
    )


def release_lost(*, job: Job, now: dt.datetime, why: str) -> JobState | None:
    """Take a lost job from its holder; None if the holder renewed it, or another reconciler was faster."""
    # the same token and the same lease as we saw: a heartbeat in between saves the holder
    same = Q(lease_until=job.lease_until) if job.lease_until is not None else Q(lease_until__isnull=True)
    if job.state == JobState.CANCELLING:
        to, text, fields = JobState.CANCELLED, f"cancelled: {why}", ended_fields(now=now)
    elif job.attempt >= job.max_attempts:
        to = JobState.FAILED
        error = f"attempt {job.attempt} of {job.max_attempts} was lost: {why}"
        text, fields = f"worker_lost: {error}", ended_fields(now=now)
        fields |= {"failure_class": FailureClass.WORKER_LOST, "error": error}
    else:
        to, text, fields = JobState.QUEUED, f"back in the queue: {why}", _given_back()
    with transaction.atomic():
        done = transition(
            job_id=job.pk, to=to, from_states=[JobState(job.state)], held_by=job.token, where=same, text=text, **fields
        )
        if done and to == JobState.FAILED:
            JOB_FAILED.tell(job.pk, str(fields["failure_class"]), str(fields["error"]))
    return to if done else None


def ended_fields(*, now: dt.datetime | None = None) -> dict[str, Any]:
    return {"ended_at": now or database_now(), "token": None, "lease_until": None}


def _given_back() -> dict[str, Any]:
    return {"token": None, "lease_until": None, "worker": "", "seconds_each": None}
