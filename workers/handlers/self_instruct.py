"""New prompts for a round, written by a policy after eight examples; prompts that are not new are discarded. Imports
torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name
from apps.prompts.selectors import chosen_prompts, given_prompts
from apps.training.changes import recipe_of
from apps.training.models import Round
from apps.training.rounds.self_rewarding import WRITING_JOB, prompts_written, written_before
from apps.training.sets.snapshots import NothingToTrainOn
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.self_instruct import (
    LONGEST_TOKENS,
    Instructed,
    draw_shots,
    filter_prompts,
    instruct_prompt,
    written_prompt,
)
from prefloop.seeds import derive_seed, sampler_seed
from workers import engines
from workers.engines import Answering

MOST_CANDIDATES = 16  # for each prompt that is wanted; what is new by then has to do


@handler(WRITING_JOB, queue="gpu")
def write_prompts(ctx: JobContext) -> dict[str, Any]:
    """Write a round's prompts: payload {round}. Nothing is stored before all of them exist."""
    round_ = Round.objects.select_related("loop__project", "loop__initial", "policy").get(pk=ctx.payload["round"])
    loop, recipe = round_.loop, recipe_of(round_.loop, round_.index)
    writer = _writer(round_, recipe)
    given = list(chosen_prompts(loop.project, recipe.prompts, split="train").values_list("text", flat=True))
    own = [prompt.text for prompt in written_before(round_)]
    wanted = recipe.prompts.n or len(given)
    with engines.answering(writer, recipe.engine, n_answers=wanted, check=ctx.check) as answering:
        found, n_candidates = _write(ctx, round_, recipe, answering, wanted=wanted, given=given, own=own)
    with ctx.fenced():
        prompts_written(round_, found, n_candidates=n_candidates, writer=writer)
    ctx.progress(len(found.kept), wanted, f"{len(found.kept)} new prompts of {n_candidates}")
    return {"n_prompts": len(found.kept), "n_candidates": n_candidates, "n_refused": dict(found.n_refused)}


def _write(
    ctx: JobContext,
    round_: Round,
    recipe: Recipe,
    answering: Answering,
    *,
    wanted: int,
    given: Sequence[str],
    own: Sequence[str],
) -> tuple[Instructed, int]:
    """Have prompts written until enough are new, or too many were tried; return them and the number tried."""
    loop = round_.loop
    there = [
        text
        for split in ("train", "eval")
        for text in given_prompts(loop.project, split=split).values_list("text", flat=True)
    ]
    kept: list[str] = []
    refused: dict[str, int] = {}
    n_candidates = 0
    seed = sampler_seed(loop.seed, "self-instruct", round_.index)
    while len(kept) < wanted and n_candidates < MOST_CANDIDATES * wanted:
        ctx.check()
        ctx.progress(len(kept), wanted, f"{len(kept)} new prompts of {n_candidates}")
        n = min(wanted, 512)
        rng = random.Random(derive_seed(seed, "shots", n_candidates))
        asked = [instruct_prompt(draw_shots(given, own, rng)) for _ in range(n)]
        groups = answering(
            [(f"{n_candidates + number}", prompt) for number, prompt in enumerate(asked)],
            n=1,
            temperature=recipe.prompts.temperature,
            top_p=recipe.prompts.top_p,
            max_tokens=LONGEST_TOKENS,
            seed=seed,
        )
        found = filter_prompts(
            # cut off at the token limit is no prompt: its empty text is refused for its length
            [written_prompt(group.completions[0].text) if group.completions[0].finished else "" for group in groups],
            [*there, *own, *kept],
            most_alike=recipe.prompts.most_alike,
        )
        kept += found.kept[: wanted - len(kept)]
        refused = {name: refused.get(name, 0) + number for name, number in found.n_refused.items()}
        n_candidates += n
    return Instructed(tuple(kept), refused), n_candidates


def _writer(round_: Round, recipe: Recipe) -> Checkpoint:
    name = recipe.prompts.writer
    if name.startswith("checkpoint:"):
        return checkpoint_by_name(round_.loop.project, name.removeprefix("checkpoint:"))
    writer = round_.policy if name == "previous" else round_.loop.initial
    if writer is None:
        raise NothingToTrainOn("the loop has no policy that could write prompts")
    return writer
