"""Services for jobs. All times are the database's."""

from __future__ import annotations

from apps.jobs.services.holding import (
    Reconciled,
    job_begin,
    job_claim,
    job_fail,
    job_heartbeat,
    job_hold,
    job_interrupt,
    job_leave_cancelled,
    job_progress,
    job_succeed,
    lease,
    reconcile,
    release_lost,
)
from apps.jobs.services.queueing import (
    JobKeyTaken,
    JobNotRetryable,
    JobSpec,
    group_create,
    job_cancel,
    job_enqueue,
    job_retry,
    room_for_jobs,
)

__all__ = [
    "JobKeyTaken",
    "JobNotRetryable",
    "JobSpec",
    "Reconciled",
    "group_create",
    "job_begin",
    "job_cancel",
    "job_claim",
    "job_enqueue",
    "job_fail",
    "job_heartbeat",
    "job_hold",
    "job_interrupt",
    "job_leave_cancelled",
    "job_progress",
    "job_retry",
    "job_succeed",
    "lease",
    "reconcile",
    "release_lost",
    "room_for_jobs",
]
