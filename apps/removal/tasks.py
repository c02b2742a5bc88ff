"""The jobs that delete. They belong to no project: a project's jobs are deleted with it."""

from __future__ import annotations

from typing import Any

from apps.accounts.models import User
from apps.core.store import weights
from apps.jobs.clock import database_now
from apps.jobs.models import Job
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.projects.models import Project
from apps.removal import leftovers, retention, services


@handler(services.JOB, queue="cpu")
def delete(ctx: JobContext) -> dict[str, Any]:
    """Delete a prompt's, a person's or a project's data: payload {project, kind, which, labels}."""
    project = Project.objects.filter(pk=ctx.payload["project"]).first()
    done: dict[str, Any] = {}
    if project is not None and "kind" in ctx.payload:
        asked = services.Asked(**{key: value for key, value in ctx.payload.items() if key != "project"})
        by = None if ctx.started_by_id is None else User.objects.get(pk=ctx.started_by_id)
        try:
            done = dict(services.removal_run(project=project, asked=asked, by=by, now=database_now(), check=ctx.check))
        except services.RemovalRefused as error:
            raise JobFailure("user_config", str(error)) from error
        except OSError as error:  # of a disk: what is left is tried again
            raise JobFailure("internal", f"{type(error).__name__}: {error}", retry=True) from error
    if "kind" in ctx.payload:
        leftovers.leftovers_remove()
    with ctx.fenced():  # the job does not keep the name either
        Job.objects.filter(pk=ctx.job_id).update(payload={"project": ctx.payload["project"]})
        Project.objects.filter(pk=ctx.payload["project"]).update(removing="")
    return done


@handler(leftovers.JOB, queue="cpu")
def sweep(ctx: JobContext) -> dict[str, Any]:
    """Remove contents of the shared store that nothing needs and that have become old since a deletion."""
    n_removed, n_bytes = weights().sweep()
    return {"n_contents": n_removed, "n_bytes": n_bytes}


@handler(retention.JOB, queue="cpu")
def retain(ctx: JobContext) -> dict[str, Any]:
    """Remove what a project keeps no longer: payload {project}."""
    project = Project.objects.filter(pk=ctx.payload["project"]).first()
    return {} if project is None else retention.retention_apply(project=project, now=database_now())
