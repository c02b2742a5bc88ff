"""New prompts that a policy writes for a round, after eight others; what is not new is thrown away. Imports torch."""

from __future__ import annotations

import random
from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name
from apps.prompts.selectors import given_prompts
from apps.training.changes import recipe_of
from apps.training.models import Round
from apps.training.self_rewarding import WRITING_JOB, prompts_written, written_before
from apps.training.snapshots import NothingToTrainOn
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
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
from workers import model_cache

MOST_CANDIDATES = 16  # for each prompt that is wanted; what is new by then has to do


@handler(WRITING_JOB, queue="gpu")
def write_prompts(ctx: JobContext) -> dict[str, Any]:
    """Write a round's prompts: payload {round}. Nothing is stored before all of them are there."""
    round_ = Round.objects.select_related("loop__project", "loop__initial", "policy").get(pk=ctx.payload["round"])
    loop, recipe = round_.loop, recipe_of(round_.loop, round_.index)
    writer = _writer(round_, recipe)
    policy = model_cache.policy(writer)
    given = list(given_prompts(loop.project, split="train").values_list("text", flat=True))
    held_out = list(given_prompts(loop.project, split="eval").values_list("text", flat=True))
    own = [prompt.text for prompt in written_before(round_)]
    wanted = recipe.prompts.n or len(given)
    kept: list[str] = []
    refused: dict[str, int] = {}
    n_candidates = 0
    seed = sampler_seed(loop.seed, "self-instruct", round_.index)
    while len(kept) < wanted and n_candidates < MOST_CANDIDATES * wanted:
        ctx.check()
        ctx.progress(len(kept), wanted, f"{len(kept)} new prompts of {n_candidates}")
        n = min(wanted, 512)
        rng = random.Random(derive_seed(seed, "shots", n_candidates))
        groups = sample(
            policy,
            [
                SamplePrompt(
                    f"{n_candidates + number}",
                    encode_prompt(policy.tokenizer, instruct_prompt(draw_shots(given, own, rng))),
                )
                for number in range(n)
            ],
            n=1,
            temperature=recipe.prompts.temperature,
            top_p=recipe.prompts.top_p,
            max_tokens=LONGEST_TOKENS,
            seed=seed,
            source=writer.name,
        )
        found = filter_prompts(
            # cut off at the token limit is no prompt: its empty text is refused for its length
            [written_prompt(group.completions[0].text) if group.completions[0].finished else "" for group in groups],
            [*given, *held_out, *own, *kept],
            most_alike=recipe.prompts.most_alike,
        )
        kept += found.kept[: wanted - len(kept)]
        refused = {name: refused.get(name, 0) + number for name, number in found.n_refused.items()}
        n_candidates += n
    with ctx.fenced():
        prompts_written(round_, Instructed(tuple(kept), refused), n_candidates=n_candidates, writer=writer)
    ctx.progress(len(kept), wanted, f"{len(kept)} new prompts of {n_candidates}")
    return {"n_prompts": len(kept), "n_candidates": n_candidates, "n_refused": refused}


def _writer(round_: Round, recipe: Recipe) -> Checkpoint:
    name = recipe.prompts.writer
    if name.startswith("checkpoint:"):
        return checkpoint_by_name(round_.loop.project, name.removeprefix("checkpoint:"))
    writer = round_.policy if name == "previous" else round_.loop.initial
    if writer is None:
        raise NothingToTrainOn("the loop has no policy that could write prompts")
    return writer
