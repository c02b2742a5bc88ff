"""Looking at the label judge now and then."""

from __future__ import annotations

from typing import Any

from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.judging.watch import judge_watch
from apps.projects.models import Project


@handler("judging.watch", queue="cpu")
def judging_watch(ctx: JobContext) -> dict[str, Any]:
    """Compare the label judge of the job's project with the project's bound."""
    project = Project.objects.get(pk=ctx.project_id or 0)
    with ctx.fenced():
        return {"is_below": judge_watch(project=project, now=database_now())}
