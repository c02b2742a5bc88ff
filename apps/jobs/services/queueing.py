"""Services for people and other services: enqueue, group, cancel, retry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.accounts.models import User
from apps.jobs.clock import database_now
from apps.jobs.doorbell import ring_after_commit
from apps.jobs.identity import worker_is_gone
from apps.jobs.machine import follow_up_insert, transition
from apps.jobs.models import Job, JobEvent, JobGroup, JobState, Turn
from apps.jobs.services.holding import ended_fields, release_lost
from apps.projects.models import Project
from apps.quotas.services import ask, in_a_job
from prefloop.types import PrefloopError


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
    turn: Turn = Turn.WORK
    cards: int = 0
    memory: int = 0


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
    turn: Turn = Turn.WORK,
) -> Job:
    """Insert a queued job in the caller's transaction; an existing job with this `unique_key` is returned instead.

    A group given here must have been made by `group_create` and still be open: its count is raised by one. Raises
    QuotaReached.
    """
    if unique_key is not None:
        existing = Job.objects.filter(unique_key=unique_key).first()
        if existing is not None:
            return existing
    try:
        with transaction.atomic():
            room_for_jobs(project.pk if project else None, started_by, [turn])
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
                turn=turn,
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
    """Insert jobs with a common follow-up, and name the follow-up.

    `unique_key`: the same key again returns the existing group, and inserts nothing. A member whose own key belongs to
    a job that succeeded is left out (its work is done); one whose job failed or was cancelled is retried as a new job;
    one whose job is still open raises JobKeyTaken. A group without members starts its follow-up at once. Failed members
    do not prevent the follow-up (see `follow_up_insert`). Raises QuotaReached, and has made nothing then.
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
                turn=spec.turn,
                cards=spec.cards,
                memory=spec.memory,
            )
            for spec in jobs
            for needed, key, parent in [_member_key(spec=spec, taken=taken)]
            if needed
        ]
        room_for_jobs(project.pk if project else None, started_by, [job.turn for job in members])
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


def room_for_jobs(project_id: int | None, started_by: User | None, turns: Sequence[int]) -> None:
    """Ask whether a project and a person may have so many more jobs. Raises QuotaReached.

    What takes seconds is not asked for, nor what follows from a job that was: work that has begun goes on.
    """
    n = sum(turn == Turn.WORK for turn in turns)
    if n and not in_a_job():
        ask(project_id=project_id, person_id=started_by.pk if started_by else None, jobs=n)


def _jobs_by_key(keys: Sequence[str]) -> dict[str, Job]:
    """The newest job of each key, including retries."""
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
    ended = ended_fields(now=now) | {"cancel_requested_at": now}
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
            release_lost(job=job, now=now, why="its worker is gone")
    job.refresh_from_db()
    return job


def job_retry(*, job: Job, by: User | None) -> Job:
    """Queue the same work again as a new job with `parent`; the ended one stays as it is.

    The new job joins the group of the old one while that is still open; afterwards it is independent. An open retry of
    the same job is returned instead of a second one. Raises JobNotRetryable and QuotaReached.
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
        room_for_jobs(job.project_id, by, [job.turn])
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
            turn=job.turn,
            cards=job.cards,
            memory=job.memory,
        )
        who = by.get_username() if by is not None else "the system"
        JobEvent.objects.create(job=new, kind="state", text=f"{who} tried job {job.pk} again", data={"to": "queued"})
        ring_after_commit(queue=new.queue)
    return new
