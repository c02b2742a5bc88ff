"""Writes on jobs: enqueue, group, cancel, retry, and what workers do (claim, beat, end, reconcile).

Time is the database's. Everything a worker writes is conditional on its fencing token.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from apps.accounts.models import User
from apps.jobs.clock import database_now
from apps.jobs.doorbell import ring_after_commit
from apps.jobs.identity import worker_is_gone
from apps.jobs.machine import HELD, follow_up_insert, transition
from apps.jobs.models import FailureClass, Job, JobEvent, JobGroup, JobState
from apps.projects.models import Project
from prefloop.types import PrefloopError

STATE_DEADLINE = dt.timedelta(seconds=180)  # of STARTING and CANCELLING
MAX_BACKOFF_SECONDS = 60


class JobNotRetryable(PrefloopError):
    """Only a failed or cancelled job can be tried again."""


class JobKeyTaken(PrefloopError):
    """A job with this key is still open, in another group or in none."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One member of a group."""

    kind: str
    queue: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    unique_key: str | None = None
    max_attempts: int = 5


@dataclass(frozen=True, slots=True)
class Reconciled:
    n_requeued: int = 0
    n_failed: int = 0
    n_cancelled: int = 0


def lease() -> dt.timedelta:
    return dt.timedelta(seconds=float(settings.JOB_LEASE_SECONDS))


# --- what people and other services do ------------------------------------------------------------------------------


def job_enqueue(
    *,
    kind: str,
    queue: str,
    payload: Mapping[str, Any],
    project: Project | None = None,
    title: str = "",
    unique_key: str | None = None,
    group: JobGroup | None = None,
    started_by: User | None = None,
    max_attempts: int = 5,
    run_after: dt.datetime | None = None,
) -> Job:
    """Insert a queued job in the caller's transaction; a job that has `unique_key` already is returned instead.

    A group given here must have been made by `group_create` and still be open: its count is raised by one.
    """
    if unique_key is not None:
        existing = Job.objects.filter(unique_key=unique_key).first()
        if existing is not None:
            return existing
    try:
        with transaction.atomic():
            job = Job.objects.create(
                kind=kind,
                queue=queue,
                payload=dict(payload),
                project=project,
                title=title[:200],
                unique_key=unique_key,
                group=group,
                started_by=started_by,
                max_attempts=max_attempts,
                run_after=run_after,
            )
            JobEvent.objects.create(job=job, kind="state", text="queued", data={"to": str(JobState.QUEUED)})
            if group is not None:
                JobGroup.objects.filter(pk=group.pk).update(open_count=F("open_count") + 1)
            ring_after_commit(queue=queue)
    except IntegrityError:
        # somebody else inserted the same key between our look and our insert
        existing = Job.objects.filter(unique_key=unique_key).first() if unique_key is not None else None
        if existing is None:
            raise
        return existing
    return job


def group_create(
    *,
    project: Project | None,
    name: str,
    jobs: Sequence[JobSpec],
    follow_up_kind: str = "",
    follow_up_payload: Mapping[str, Any] | None = None,
    follow_up_queue: str = "cpu",
    unique_key: str | None = None,
    started_by: User | None = None,
) -> JobGroup:
    """Insert jobs that end together, and name the job that follows the last of them.

    `unique_key`: the same key again returns the group that has it, and inserts nothing. A member whose own key
    belongs to a job that succeeded is left out (its work is there); one whose job failed or was cancelled is tried
    again as a new job; one whose job is still open raises JobKeyTaken. A group left with no member fires its
    follow-up at once. Failed members do not hold the follow-up back (see `follow_up_insert`).
    """
    with transaction.atomic():
        if unique_key is not None:
            existing = JobGroup.objects.filter(unique_key=unique_key).first()
            if existing is not None:
                return existing
        group = JobGroup.objects.create(
            project=project,
            name=name[:120],
            unique_key=unique_key,
            follow_up_kind=follow_up_kind,
            follow_up_queue=follow_up_queue,
            follow_up_payload=dict(follow_up_payload or {}),
        )
        keys = [spec.unique_key for spec in jobs if spec.unique_key is not None]
        taken = _jobs_by_key(keys)
        members = [
            Job(
                kind=spec.kind,
                queue=spec.queue,
                payload=dict(spec.payload),
                project=project,
                title=spec.title[:200],
                unique_key=key,
                parent=parent,
                group=group,
                started_by=started_by,
                max_attempts=spec.max_attempts,
            )
            for spec in jobs
            for needed, key, parent in [_member_key(spec=spec, taken=taken)]
            if needed
        ]
        Job.objects.bulk_create(members, batch_size=500)
        JobEvent.objects.bulk_create(
            [JobEvent(job=job, kind="state", text="queued", data={"to": str(JobState.QUEUED)}) for job in members],
            batch_size=500,
        )
        JobGroup.objects.filter(pk=group.pk).update(open_count=len(members))
        group.refresh_from_db()
        if not members:
            follow_up_insert(group=group)
        for queue in sorted({job.queue for job in members}):
            ring_after_commit(queue=queue)
    return group


def _jobs_by_key(keys: Sequence[str]) -> dict[str, Job]:
    """The newest job of each key, its retries counted in."""
    found: dict[str, Job] = {}
    for start in range(0, len(keys), 500):
        for job in Job.objects.filter(unique_key__in=keys[start : start + 500]):
            newest = job
            while (retry := newest.retries.order_by("-id").first()) is not None:
                newest = retry
            found[str(job.unique_key)] = newest
    return found


def _member_key(*, spec: JobSpec, taken: Mapping[str, Job]) -> tuple[bool, str | None, Job | None]:
    before = taken.get(spec.unique_key) if spec.unique_key is not None else None
    if before is None:
        return True, spec.unique_key, None
    if before.state == JobState.SUCCEEDED:
        return False, None, None
    if not before.is_terminal:
        raise JobKeyTaken(f"{spec.unique_key} is still {before.get_state_display().lower()} (job {before.pk})")
    return True, f"{spec.unique_key}~{before.pk}", before


def job_cancel(*, job: Job, by: User | None) -> Job:
    """Cancel from any state: at once where no living worker holds the job, else by asking its worker to leave."""
    who = by.get_username() if by is not None else "the system"
    now = database_now()
    ended = _ended(now=now) | {"cancel_requested_at": now}
    if not transition(
        job_id=job.pk,
        to=JobState.CANCELLED,
        from_states=[JobState.QUEUED],
        text=f"cancelled by {who} before it started",
        **ended,
    ):
        transition(
            job_id=job.pk,
            to=JobState.CANCELLING,
            from_states=[JobState.STARTING, JobState.RUNNING],
            text=f"{who} asked for it to be cancelled",
            cancel_requested_at=now,
        )
        job.refresh_from_db()
        lost = job.state == JobState.CANCELLING and (
            job.lease_until is None or job.lease_until < now or worker_is_gone(job.worker)
        )
        if lost:
            _release_lost(job=job, now=now, why="its worker is gone")
    job.refresh_from_db()
    return job


def job_retry(*, job: Job, by: User | None) -> Job:
    """Queue the same work again as a new job with `parent`; the ended one stays as it is.

    The new job joins the group of the old one while that is still open; afterwards it stands alone. An open retry
    of the same job is returned instead of a second one.
    """
    with transaction.atomic():
        job.refresh_from_db()
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            raise JobNotRetryable(f"job {job.pk} is {job.state}; only a failed or cancelled job can be tried again")
        latest = job.retries.order_by("-id").first()
        if latest is not None and not latest.is_terminal:
            return latest
        group = None
        if job.group_id is not None:
            counted = "failed_count" if job.state == JobState.FAILED else "cancelled_count"
            joined = JobGroup.objects.filter(pk=job.group_id, open_count__gt=0).update(
                **{"open_count": F("open_count") + 1, counted: F(counted) - 1}
            )
            group = job.group if joined else None
        new = Job.objects.create(
            kind=job.kind,
            queue=job.queue,
            payload=job.payload,
            project_id=job.project_id,
            title=job.title,
            unique_key=f"retry~{job.pk}~{job.retries.count()}",
            parent=job,
            group=group,
            started_by=by,
            max_attempts=job.max_attempts,
        )
        who = by.get_username() if by is not None else "the system"
        JobEvent.objects.create(job=new, kind="state", text=f"{who} tried job {job.pk} again", data={"to": "queued"})
        ring_after_commit(queue=new.queue)
    return new


# --- what workers do ------------------------------------------------------------------------------------------------


def job_claim(*, queues: Sequence[str], worker: str) -> Job | None:
    """Claim the oldest claimable job of these queues by one conditional UPDATE, or say that there is none."""
    while True:
        now = database_now()
        due = Q(run_after__isnull=True) | Q(run_after__lte=now)
        candidates = list(
            Job.objects.filter(due, queue__in=list(queues), state=JobState.QUEUED, attempt__lt=F("max_attempts"))
            .order_by("id")
            .values_list("id", flat=True)[:10]
        )
        if not candidates:
            return None
        for job_id in candidates:
            claimed = transition(
                job_id=job_id,
                to=JobState.STARTING,
                from_states=[JobState.QUEUED],
                where=due & Q(attempt__lt=F("max_attempts")),
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
    """Say in the current transaction that this worker still holds the job; locks the row until commit."""
    return Job.objects.filter(pk=job_id, token=token, state__in=HELD).update(token=token) == 1


def job_progress(*, job_id: int, token: uuid.UUID, step: int, n_steps: int, message: str) -> bool:
    rows = Job.objects.filter(pk=job_id, token=token, state__in=HELD)
    return rows.update(step=step, n_steps=n_steps, message=message[:300]) == 1


def job_succeed(*, job_id: int, token: uuid.UUID, result: Mapping[str, Any] | None) -> bool:
    """End well. False: the job is no longer this worker's, and nothing was written."""
    return transition(
        job_id=job_id,
        to=JobState.SUCCEEDED,
        from_states=[JobState.RUNNING, JobState.CANCELLING],
        held_by=token,
        text="succeeded",
        result=dict(result or {}),
        **_ended(),
    )


def job_fail(
    *, job_id: int, token: uuid.UUID, failure_class: FailureClass | str, error: str, retry: bool = False
) -> bool:
    """End badly, or, with `retry` and attempts left, go back to the queue after 2, 4, 8 … 60 seconds."""
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
    return transition(
        job_id=job_id,
        to=JobState.FAILED,
        from_states=list(HELD),
        held_by=token,
        text=f"{failure}: {error}",
        failure_class=failure,
        error=error,
        **_ended(),
    )


def job_leave_cancelled(*, job_id: int, token: uuid.UUID) -> bool:
    """The handler left because it was asked to."""
    return transition(
        job_id=job_id,
        to=JobState.CANCELLED,
        from_states=list(HELD),
        held_by=token,
        text="cancelled",
        **_ended(),
    )


def job_interrupt(*, job_id: int, token: uuid.UUID) -> bool:
    """The worker shuts down: back to the queue, and the attempt does not count."""
    return transition(
        job_id=job_id,
        to=JobState.QUEUED,
        from_states=[JobState.STARTING, JobState.RUNNING],
        held_by=token,
        text="back in the queue: its worker is shutting down",
        attempt=F("attempt") - 1,
        **_given_back(),
    ) or job_leave_cancelled(job_id=job_id, token=token)


def reconcile(*, host: str = "", now: dt.datetime | None = None) -> Reconciled:
    """Give back what no living worker holds, and force what stands too long in a passing state.

    Looks at leases that ran out, at workers of `host` whose process is gone (no need to wait for their leases), at
    STARTING and CANCELLING beyond their deadline. Each goes back to the queue, or, with no attempts left, fails as
    `worker_lost`; what was to be cancelled is cancelled. Any number of workers may do this at the same time.
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
    ends = [_release_lost(job=job, now=now, why=why) for job, why in lost]
    return Reconciled(
        n_requeued=ends.count(JobState.QUEUED),
        n_failed=ends.count(JobState.FAILED),
        n_cancelled=ends.count(JobState.CANCELLED),
    )


def _release_lost(*, job: Job, now: dt.datetime, why: str) -> JobState | None:
    """Take a lost job from its holder; None where the holder spoke up, or another reconciler was faster."""
    # the same token and the same lease as we saw: a heartbeat in between saves the holder
    same = Q(lease_until=job.lease_until) if job.lease_until is not None else Q(lease_until__isnull=True)
    if job.state == JobState.CANCELLING:
        to, text, fields = JobState.CANCELLED, f"cancelled: {why}", _ended(now=now)
    elif job.attempt >= job.max_attempts:
        to = JobState.FAILED
        error = f"attempt {job.attempt} of {job.max_attempts} was lost: {why}"
        text, fields = f"worker_lost: {error}", _ended(now=now)
        fields |= {"failure_class": FailureClass.WORKER_LOST, "error": error}
    else:
        to, text, fields = JobState.QUEUED, f"back in the queue: {why}", _given_back()
    done = transition(
        job_id=job.pk, to=to, from_states=[JobState(job.state)], held_by=job.token, where=same, text=text, **fields
    )
    return to if done else None


def _ended(*, now: dt.datetime | None = None) -> dict[str, Any]:
    return {"ended_at": now or database_now(), "token": None, "lease_until": None}


def _given_back() -> dict[str, Any]:
    return {"token": None, "lease_until": None, "worker": ""}
