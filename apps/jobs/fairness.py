"""Whose job is next: projects take turns, and no project waits behind all the jobs of another.

For each project its own next job is found by one step into an index, so that a claim costs the same whether ten jobs
wait or a million.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery

from apps.jobs.machine import HELD
from apps.jobs.models import QUEUES, Job, JobState, Turn
from apps.jobs.wants import can_be_had
from apps.projects.models import Project
from apps.quotas.models import Quota

RUNNING = "running"  # the quota of jobs that run at once
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
    A project that has as many jobs running as its quota of them allows is left out, unless it is for seconds, and so is
    one of which data are being deleted.
    """
    queued = waiting(queues=queues, now=now, group_id=group_id).order_by("turn", "id")
    served = Job.objects.filter(queue__in=list(queues), started_at__isnull=False).order_by("-started_at")
    of_project = {"project": OuterRef("pk")}
    rows: list[tuple[int | None, int, dt.datetime | None, Decimal | None]] = list(
        Project.objects.filter(removing="")
        .annotate(
            next_job=Subquery(queued.filter(**of_project).values("id")[:1]),
            served_at=Subquery(served.filter(**of_project).values("started_at")[:1]),
            most=_most_running("pk"),
        )
        .filter(next_job__isnull=False)
        .order_by("pk")
        .values_list("pk", "next_job", "served_at", "most")
    )
    without = queued.filter(project=None).values_list("id", flat=True).first()  # of no project, but of everybody
    if without is not None:
        last = served.filter(project=None).values_list("started_at", flat=True).first()
        rows.append((None, without, last, None))
    default = settings.PROJECT_QUOTAS.get(RUNNING)
    limits = {pk: limit for pk, *_, most in rows if pk and (limit := default if most is None else most) is not None}
    if len(rows) < 2 and not limits:
        return [job for _, job, *_ in rows]
    turns = dict(Job.objects.filter(pk__in=[job for _, job, *_ in rows]).values_list("id", "turn"))
    held = _by_project(Job.objects.filter(queue__in=list(queues), state__in=HELD))
    working = _by_project(running_work().filter(project__in=limits)) if limits else {}
    ordered = sorted(
        (turns.get(job, 0), held.get(project, 0), served_at or _NEVER, job)
        for project, job, served_at, _ in rows
        if project not in limits or working.get(project, 0) < limits[project] or turns.get(job) != Turn.WORK
    )
    return [job for *_, job in ordered]


def running_work() -> QuerySet[Job]:
    """The jobs that the quota `running` counts: those held by a worker, but for what takes seconds."""
    return Job.objects.filter(queue__in=QUEUES, state__in=HELD, turn=Turn.WORK)  # a project's by the index job_next


def may_run(job_id: int) -> bool:
    """Say whether its project may have one more job running, and lock the project until the job is claimed.

    None runs while data of the project are being deleted. Of two workers that claim at the same time, the second counts
    what the first has taken.
    """
    row = Job.objects.filter(pk=job_id).annotate(most=_most_running("project"))
    project_id, turn, most, removing = row.values_list("project", "turn", "most", "project__removing").get()
    if removing:
        return False
    limit = settings.PROJECT_QUOTAS.get(RUNNING) if most is None else most
    if limit is None or project_id is None or turn != Turn.WORK:
        return True
    Project.objects.select_for_update(no_key=True).get(pk=project_id)
    return running_work().filter(project=project_id).count() < limit


def _most_running(project: str) -> Subquery:
    return Subquery(Quota.objects.filter(kind=RUNNING, project=OuterRef(project)).values("amount")[:1])


def _by_project(rows: QuerySet[Job]) -> dict[int | None, int]:
    return dict(rows.order_by().values_list("project").annotate(n=Count("id")))
