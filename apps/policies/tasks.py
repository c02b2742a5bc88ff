"""Importing a large model: copied, converted or fetched, and hashed; what needs torch has a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.accounts.models import User
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_import
from apps.policies.store import checkpoint_relative_path, import_source, store_path
from apps.policies.uploads import upload_imported
from apps.projects.access import is_operator
from apps.projects.models import Project
from prefloop.model_sources import HUB_PREFIX


@handler("policies.import", queue="cpu")
def import_checkpoint(ctx: JobContext) -> dict[str, Any]:
    project = Project.objects.get(pk=ctx.project_id or 0)
    name = str(ctx.payload["name"])
    done = Checkpoint.objects.filter(project=project, name=name).first()
    if done is None:
        final = store_path(checkpoint_relative_path(project.slug, name))
        for half in final.parent.glob(f".{name}.{'[0-9a-f]' * 32}"):  # of an attempt whose worker was lost
            shutil.rmtree(half, ignore_errors=True)
        by = User.objects.filter(pk=ctx.started_by_id or 0).first()  # who may read where is asked again: it was queued
        operator = by is not None and is_operator(by)
        source = import_source(str(ctx.payload["path"]), project=project, is_operator=operator)
        role = str(ctx.payload["role"])
        done = checkpoint_import(project=project, name=name, role=role, source=source, told=_tell(ctx), created_by=by)
        if not source.address.startswith(HUB_PREFIX):
            upload_imported(Path(source.address))
    return {"checkpoint": done.pk}


def _tell(ctx: JobContext) -> Callable[[int, int, str], None]:
    def tell(done: int, total: int, what: str) -> None:
        ctx.check()  # cancelled, or another worker's by now: what brings the model in is ended
        ctx.progress(done, total, what)

    return tell
