"""Averaging checkpoints: payload {name, of, by, keep}."""

from __future__ import annotations

from typing import Any

from apps.accounts.models import User
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from workers.averaging import average_checkpoints, is_of


@handler("policies.average", queue="gpu")
def average(ctx: JobContext) -> dict[str, Any]:
    project, asked, attempt = Project.objects.get(pk=ctx.project_id or 0), ctx.payload, f"job-{ctx.job_id}"
    done = Checkpoint.objects.filter(project=project, name=asked["name"]).first()
    if done is None or not is_of(done, attempt):

        def told(n: int) -> None:
            ctx.check()
            ctx.progress(n, len(asked["of"]), "reading")

        by = User.objects.filter(pk=ctx.started_by_id or 0).first()
        how = {key: asked[key] for key in ("name", "of", "by", "keep")}
        done = average_checkpoints(project=project, created_by=by, told=told, attempt=attempt, **how)
    return {"checkpoint": done.pk}
