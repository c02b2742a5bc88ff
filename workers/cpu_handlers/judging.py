"""Judging and scoring: a chunk of a run, written as it goes. Existing verdicts are not asked for again."""

from __future__ import annotations

from typing import Any

from apps.core.chunks import chunks
from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.labels.models import Judge, JudgingPart, JudgingRun
from apps.labels.services import preferences_derive
from apps.samples.models import Completion, SamplingRun
from workers import judges
from workers.judges.stored import unasked

DERIVED_AT_ONCE = 256  # comparisons a transaction: people vote meanwhile


@handler("judging.chunk", queue="cpu")
def judging_chunk(ctx: JobContext) -> dict[str, Any]:
    """Ask a judge about a chunk of comparisons: payload {run, start, stop}."""
    run = JudgingRun.objects.select_related("judge__endpoint", "judge__checkpoint", "project").get(
        pk=ctx.payload["run"]
    )
    ids = JudgingPart.objects.get(run=run, start=ctx.payload["start"]).ids
    items = unasked(run.judge, run, ids)
    ctx.progress(0, len(items), f"asking {run.judge.name}")
    judges.compare(ctx, run.judge, run, items)
    for part in chunks(ids, DERIVED_AT_ONCE):
        with ctx.fenced():
            preferences_derive(project=run.project, comparison_ids=part, now=database_now())
    return {"n_verdicts": len(items), "n_there_before": len(ids) - len({item[0].pk for item in items})}


@handler("scoring.chunk", queue="cpu")
def scoring_chunk(ctx: JobContext) -> dict[str, Any]:
    """Score the completions of a chunk of a sampling run: payload {judge, run, start, stop}."""
    judge = Judge.objects.select_related("checkpoint", "endpoint", "project").get(pk=ctx.payload["judge"])
    run = SamplingRun.objects.get(pk=ctx.payload["run"])
    prompts = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    ids = list(
        Completion.objects.filter(run=run, prompt_id__in=prompts)
        .order_by("prompt_id", "index")
        .values_list("id", flat=True)
    )
    return {"n_scored": judges.score(ctx, judge, ids)}
