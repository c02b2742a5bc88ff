"""What is too slow for a page: Elo over many orders, the bootstrap of a large board, the next run of a study."""

from __future__ import annotations

from typing import Any

from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.projects.models import Project
from apps.reports.laboratory.running import ADVANCE, study_advance
from apps.reports.services import BOARD_JOB, leaderboard_report


@handler(BOARD_JOB, queue="cpu")
def work_out_leaderboard(ctx: JobContext) -> dict[str, Any]:
    project = Project.objects.get(pk=ctx.payload["project"])
    ctx.progress(0, 1, "Elo and the bootstrap")
    report = leaderboard_report(
        project=project,
        source=str(ctx.payload["source"]),
        criterion=str(ctx.payload.get("criterion", "")),
        style=bool(ctx.payload.get("style")),
    )
    ctx.progress(1, 1, "done")
    return {"report": report}


@handler(ADVANCE, queue="cpu")
def studies_advance(ctx: JobContext) -> dict[str, Any]:
    """Do what a study needs next: payload {study}."""
    study_advance(study_id=int(ctx.payload["study"]), now=database_now())
    return {}
