"""Telling an event: a row in the outbox, written in the transaction of what it tells."""

from __future__ import annotations

from typing import Any

from apps.events.models import Event
from apps.events.types import EVENTS
from apps.jobs.models import FailureClass, Job
from apps.projects.models import Project

_PAUSES = (FailureClass.CAP_REACHED, FailureClass.JUDGE_UNREACHABLE, FailureClass.JUDGE_REFUSED)


def is_heard(kind: str, project: Project) -> bool:
    """Return whether anybody hears of it: `project.listened`, which comes with the project's row, costs nothing."""
    return EVENTS[kind].notifies is not None or kind in project.listened


def tell(kind: str, project: Project, /, **data: Any) -> None:
    """Write that something happened, if anybody hears of it. Call it in the transaction of what happened."""
    declared = EVENTS[kind]
    if set(data) != set(declared.fields):
        raise AssertionError(f"{kind} is declared with {declared.fields}, not {tuple(data)}")
    if is_heard(kind, project):
        Event.objects.create(project=project, kind=kind, data=data)


def job_ended(job_id: int, failure: str, error: str) -> None:
    """A job ended as failed: where its judge stopped, say so."""
    if failure in _PAUSES:
        job = Job.objects.select_related("project").get(pk=job_id)
        if job.project is not None:
            tell("judge.paused", job.project, job=job.pk, title=job.title, why=str(failure), error=error)
