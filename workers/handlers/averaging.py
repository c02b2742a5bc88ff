"""Averaging checkpoints: payload {name, of, by, keep}."""

from __future__ import annotations

import shutil
from typing import Any

from apps.accounts.models import User
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_relative_path, store_path
from apps.projects.models import Project
from prefloop.checkpoints import verify_manifest
from workers.averaging import average_checkpoints


@handler("policies.average", queue="gpu")
def average(ctx: JobContext) -> dict[str, Any]:
    project, asked = Project.objects.get(pk=ctx.project_id or 0), ctx.payload
    name = str(asked["name"])
    done = Checkpoint.objects.filter(project=project, name=name).first()
    if done is None or not _is_this(done.manifest, asked):
        final = store_path(checkpoint_relative_path(project.slug, name))
        # of an attempt whose worker was lost
        for half in final.parent.glob(f".{name}.*"):
            shutil.rmtree(half, ignore_errors=True)
        if done is None and final.exists() and _is_this(verify_manifest(final), asked):
            shutil.rmtree(final)

        def told(n: int) -> None:
            ctx.check()
            ctx.progress(n, len(asked["of"]), "reading")

        by = User.objects.filter(pk=ctx.started_by_id or 0).first()
        how = {"of": asked["of"], "by": asked["by"], "keep": asked["keep"]}
        done = average_checkpoints(project=project, name=name, created_by=by, told=told, **how)
    return {"checkpoint": done.pk}


def _is_this(manifest: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Say whether an earlier attempt of this job made the checkpoint with this manifest."""
    made = manifest.get("extra", {}).get("averaged", {})
    return [sorted(made.get("of", {})), made.get("by"), made.get("keep")] == [
        sorted(asked["of"]),
        asked["by"],
        asked["keep"],
    ]
