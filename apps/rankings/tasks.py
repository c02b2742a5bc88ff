"""Work on a project's queue that takes too long for a request."""

from __future__ import annotations

from typing import Any

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.labels.selectors import CHUNK
from apps.projects.models import Project
from apps.rankings.services import seats_settle
from apps.rankings.services.sets import PROMPTS_AT_ONCE, prompts_with_answers, sets_make
from apps.samples.models import Comparison


@handler("rankings.seats", queue="cpu")
def settle(ctx: JobContext) -> dict[str, Any]:
    """Bring every comparison of a project to the number of seats that it should have. Repeating it changes nothing."""
    project = Project.objects.get(pk=ctx.project_id or 0)
    ids = list(Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True))
    done = 0
    for part in chunks(ids, CHUNK):
        ctx.check()
        seats_settle(project=project, comparison_ids=part)
        done += len(part)
        ctx.progress(done, len(ids), "comparisons")
    return {"n": len(ids)}


@handler("rankings.sets", queue="cpu")
def make_sets(ctx: JobContext) -> dict[str, Any]:
    """Put the answers of a project into sets to rank, and give seats to them. Repeating it changes nothing."""
    project = Project.objects.get(pk=ctx.project_id or 0)
    prompts = prompts_with_answers(project)
    n = done = 0
    for part in chunks(prompts, PROMPTS_AT_ONCE):
        ctx.check()
        n += sets_make(project=project, size=int(ctx.payload["size"]), prompt_ids=part)
        done += len(part)
        ctx.progress(done, len(prompts), "prompts")
    return {"n_sets": n, **(settle(ctx) or {})}
