"""The rows on which a self-rewarding loop's starting policy learns to judge. Torch-free: training is a separate run."""

from __future__ import annotations

from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.prompts.selectors import chosen_prompts
from apps.training.changes import recipe_of
from apps.training.models import Round
from apps.training.rounds.self_rewarding import START_JOB, start_run_create, stored_demonstrations
from prefloop.seeds import derive_seed
from workers.score_prompts import score_prompt
from workers.worlds import demonstrations_of


@handler(START_JOB, queue="cpu")
def start_rows(ctx: JobContext) -> dict[str, Any]:
    """Make the training run of the starting policy, with its rows: payload {round}."""
    round_ = Round.objects.select_related("loop__project", "loop__initial").get(pk=ctx.payload["round"])
    loop = round_.loop
    recipe = recipe_of(loop, round_.index)
    ctx.progress(0, 1, "judge demonstrations")
    seed = derive_seed(loop.seed, "eft")
    if loop.project.world:
        prompts = list(chosen_prompts(loop.project, recipe.prompts, split="train").values_list("text", flat=True))
        judged = demonstrations_of(loop.project.world, prompts, recipe.teach.eft, seed=seed)
    else:
        judged = stored_demonstrations(loop.project, score_prompt(loop.project), recipe.teach.eft, seed=seed)
    with ctx.fenced():
        run = start_run_create(loop, round_, judged)
    if run is None:
        ctx.log("an earlier loop made the same start: it is taken again")
    ctx.progress(1, 1, f"{len(judged):,} judge demonstrations")
    return {"n_demonstrations": len(judged), "run": run.pk if run else None}
