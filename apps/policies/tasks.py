"""Importing a large model directory: copying and hashing, no torch."""

from __future__ import annotations

import shutil
from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_import
from apps.policies.store import checkpoint_relative_path, import_source, store_path
from apps.projects.models import Project


@handler("policies.import", queue="cpu")
def import_checkpoint(ctx: JobContext) -> dict[str, Any]:
    project = Project.objects.get(pk=ctx.project_id or 0)
    name = str(ctx.payload["name"])
    done = Checkpoint.objects.filter(project=project, name=name).first()
    if done is None:
        final = store_path(checkpoint_relative_path(project.slug, name))
        for half in final.parent.glob(f".{name}.*"):  # of an attempt whose worker was lost
            shutil.rmtree(half, ignore_errors=True)
        source = import_source(str(ctx.payload["path"]))
        done = checkpoint_import(project=project, name=name, role=str(ctx.payload["role"]), source=source)
    return {"checkpoint": done.pk}
