"""What is too slow for a page: Elo over many orders, and the bootstrap of a large board."""

from __future__ import annotations

from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.projects.models import Project
from apps.reports.services import BOARD_JOB, leaderboard_report


@handler(BOARD_JOB, queue="cpu")
def work_out_leaderboard(ctx: JobContext) -> dict[str, Any]:
    project = Project.objects.get(pk=ctx.payload["project"])
    ctx.progress(0, 1, "Elo and the bootstrap")
    report = leaderboard_report(project=project, source=str(ctx.payload["source"]))
    ctx.progress(1, 1, "done")
    return {"report": report}
