"""Reads on jobs."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.jobs.machine import HELD
from apps.jobs.models import Job, JobGroup, JobState
from apps.projects.models import Project

OPEN = (JobState.QUEUED, *HELD)


def running_jobs(project: Project) -> QuerySet[Job]:
    """The project's jobs that are queued or held by a worker, oldest first (the top bar counts them)."""
    return Job.objects.filter(project=project, state__in=OPEN).order_by("id")


def recent_jobs(project: Project, *, limit: int = 50) -> list[Job]:
    """Open jobs first, then those that ended last."""
    open_jobs = list(running_jobs(project)[:limit])
    ended = Job.objects.filter(project=project).exclude(state__in=OPEN).order_by("-ended_at", "-id")
    return open_jobs + list(ended[: limit - len(open_jobs)])


def claimable(queues: list[str]) -> bool:
    """Whether a drain of these queues would find something."""
    from django.db.models import F, Q

    from apps.jobs.clock import database_now

    due = Q(run_after__isnull=True) | Q(run_after__lte=database_now())
    return Job.objects.filter(due, queue__in=queues, state=JobState.QUEUED, attempt__lt=F("max_attempts")).exists()


def group_progress(group: JobGroup) -> tuple[int, int]:
    """(members ended, members in all)."""
    n = group.jobs.count()
    return n - group.open_count, n
