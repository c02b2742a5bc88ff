"""Work on a project's ratings that takes too long for a request."""

from __future__ import annotations

from typing import Any

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.projects.models import Project
from apps.ratings.services import seats_settle
from apps.ratings.services.seats import prompts_to_rate

_AT_ONCE = 200  # prompts between two looks at the clock


@handler("ratings.seats", queue="cpu")
def settle(ctx: JobContext) -> dict[str, Any]:
    """Bring every answer of a project to the number of seats that it should have. Repeating it changes nothing."""
    project = Project.objects.get(pk=ctx.project_id or 0)
    ids = prompts_to_rate(project)
    done = 0
    for part in chunks(ids, _AT_ONCE):
        ctx.check()
        seats_settle(project=project, prompt_ids=part)
        done += len(part)
        ctx.progress(done, len(ids), "prompts")
    return {"n": len(ids)}
