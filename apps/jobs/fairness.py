"""Whose job is next: projects take turns, and no project waits behind all the jobs of another.

For each project its own next job is found by one step into an index, so that a claim costs the same whether ten jobs
wait or a million.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from django.conf import settings
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery

from apps.jobs.machine import HELD
from apps.jobs.models import Job, JobState
from apps.jobs.wants import can_be_had
from apps.projects.models import Project

_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def waiting(*, queues: Sequence[str], now: dt.datetime, group_id: int | None = None) -> QuerySet[Job]:
    """The jobs that can be claimed now, by this worker."""
    due = Q(run_after__isnull=True) | Q(run_after__lte=now)
    only = Q() if group_id is None else Q(group_id=group_id)
    return Job.objects.filter(
        due, only, can_be_had(), queue__in=list(queues), state=JobState.QUEUED, attempt__lt=F("max_attempts")
    )


def next_jobs(*, queues: Sequence[str], now: dt.datetime, group_id: int | None = None) -> list[int]:
    """The ids of the next job of each project, in the order in which they are due.

    First comes what a person waits for, then what other work waits for, then work. Among equals comes the project of
    which workers hold the fewest jobs of these queues, then the one that was served longest ago, then the oldest job.
    A project that has as many jobs running as PREFLOOP_PROJECT_JOBS allows is left out, unless a person waits.
    """
    queued = waiting(queues=queues, now=now, group_id=group_id).order_by("turn", "id")
    served = Job.objects.filter(queue__in=list(queues), started_at__isnull=False).order_by("-started_at")
    of_project = {"project": OuterRef("pk")}
    rows: list[tuple[int | None, int, dt.datetime | None]] = list(
        Project.objects.annotate(
            next_job=Subquery(queued.filter(**of_project).values("id")[:1]),
            served_at=Subquery(served.filter(**of_project).values("started_at")[:1]),
        )
        .filter(next_job__isnull=False)
        .order_by("pk")
        .values_list("pk", "next_job", "served_at")
    )
    without = queued.filter(project=None).values_list("id", flat=True).first()  # of no project, but of everybody
    if without is not None:
        last = served.filter(project=None).values_list("started_at", flat=True).first()
        rows.append((None, without, last))
    if len(rows) < 2 and not settings.PROJECT_JOBS:
        return [job for _, job, _ in rows]
    turns = dict(Job.objects.filter(pk__in=[job for _, job, _ in rows]).values_list("id", "turn"))
    held = _held_by_project(queues)
    most = settings.PROJECT_JOBS or math.inf
    ordered = sorted(
        (turns.get(job, 0), held.get(project, 0), served_at or _NEVER, job)
        for project, job, served_at in rows
        if held.get(project, 0) < most or turns.get(job) == 0 or project is None
    )
    return [job for *_, job in ordered]


def _held_by_project(queues: Sequence[str]) -> dict[int | None, int]:
    held = Job.objects.filter(queue__in=list(queues), state__in=HELD).order_by()
    return dict(held.values_list("project").annotate(n=Count("id")))
