"""Reads on jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from django.db.models import F, QuerySet

from apps.jobs.clock import database_now
from apps.jobs.fairness import next_jobs
from apps.jobs.machine import HELD
from apps.jobs.models import QUEUES, Job, JobEvent, JobState, Turn, Worker
from apps.projects.models import Project

OPEN = (JobState.QUEUED, *HELD)
LOG_LINES = 400
STALE_SECONDS = 60  # a worker that wrote nothing for so long is gone, or stuck


def running_jobs(project: Project) -> QuerySet[Job]:
    """The project's jobs that are queued or held by a worker, oldest first (the top bar counts them)."""
    return Job.objects.filter(project=project, state__in=OPEN).order_by("id")


def open_work() -> QuerySet[Job]:
    """The jobs that the quota `jobs` counts: those that wait or run, but for what takes seconds."""
    return Job.objects.filter(queue__in=QUEUES, state__in=OPEN, turn=Turn.WORK)  # a project's by the index job_next


def recent_jobs(jobs: QuerySet[Job], *, limit: int = 50) -> list[Job]:
    """Of these: open ones first (what a worker holds before what waits), then those that ended last."""
    rows = jobs.select_related("project", "started_by")
    held = list(rows.filter(state__in=HELD).order_by("id")[:limit])
    queued = list(rows.filter(state=JobState.QUEUED).order_by("id")[: limit - len(held)])
    ended = rows.exclude(state__in=OPEN).order_by(F("ended_at").desc(nulls_last=True), "-id")
    return held + queued + list(ended[: limit - len(held) - len(queued)])


def version_of(jobs: Sequence[Job], extra: object = "") -> str:
    """A short hash of what a page of these jobs shows; if it is equal, nothing changed."""
    shown = repr([(job.pk, job.state, job.step, job.n_steps, job.message, job.attempt) for job in jobs]) + str(extra)
    return hashlib.blake2s(shown.encode(), digest_size=8).hexdigest()


def workers_heard(now: datetime) -> list[Worker]:
    """The workers that run."""
    return [one for one in Worker.objects.order_by("name") if (now - one.last_loop_at).total_seconds() < STALE_SECONDS]


def job_log(job: Job) -> list[JobEvent]:
    """The last lines of a job's log, in order."""
    return list(JobEvent.objects.filter(job=job).order_by("-id")[:LOG_LINES])[::-1]


def claimable(queues: list[str]) -> bool:
    """Whether a drain of these queues would find something."""
    return bool(next_jobs(queues=queues, now=database_now()))
