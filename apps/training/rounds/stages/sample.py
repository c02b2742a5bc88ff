"""A policy answers the round's prompts."""

from __future__ import annotations

import random

from django.utils.translation import gettext_noop, ngettext

from apps.jobs.models import JobGroup
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name, endpoint_by_name
from apps.prompts.selectors import chosen_prompts
from apps.samples.models import Completion
from apps.samples.services import sampling_run_create, sampling_run_enqueue
from apps.training.models import Loop, Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.answers import data_answers
from apps.training.rounds.stages.base import At, RoundStage, need
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed, sampler_seed


class Sampling(RoundStage):
    key = Stage.SAMPLING
    words, icon = gettext_noop("Sampling"), "samples"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        return index > 0 and recipe.samples and not recipe.learns_in_steps

    def in_each_step(self, recipe: Recipe) -> bool:
        return recipe.is_online

    def enter(self, at: At) -> JobGroup:
        run = at.round_.sampling_run
        if run is not None:
            return sampling_run_enqueue(run=run, follow_up_kind="rounds.advance", follow_up_payload=at.payload)
        draw = next(draw for draw in at.recipe.draws if draw.source != "data")
        endpoint = endpoint_by_name(at.loop.project, draw.endpoint) if draw.endpoint else None
        split = "train" if at.recipe.objective.trains else "eval"
        run = sampling_run_create(
            project=at.loop.project,
            checkpoint=drawer(at.loop, at.round_, draw.source) if endpoint is None else None,
            endpoint=endpoint,
            engine="" if endpoint is not None else draw.engine,
            prompt_ids=round_prompts(at.loop, at.round_, at.recipe, split),
            n=draw.n,
            temperature=draw.temperature,
            top_p=draw.top_p,
            top_k=draw.top_k,
            max_tokens=draw.max_tokens,
            seed=sampler_seed(at.loop.seed, "round", at.round_.index),
            purpose="loop",
            started_by=at.loop.started_by,
            follow_up_kind="rounds.advance",
            follow_up_payload=at.payload,
        )
        Round.objects.filter(pk=at.round_.pk).update(sampling_run=run)
        if run.group is None:
            raise AssertionError("a sampling run has its jobs")
        return run.group

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        return Foreseen(answers=ahead.answers)

    def count(self, round_: Round, run: TrainingRun | None) -> tuple[int, int] | None:
        made = round_.sampling_run
        if made is None:
            return None
        return Completion.objects.filter(run=made).count(), len(made.prompt_ids) * made.n

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        if round_.sampling_run is None:
            return ""
        n = Completion.objects.filter(run=round_.sampling_run).count()
        return ngettext("%(n)s answer", "%(n)s answers", n) % {"n": f"{n:,}"}


def drawer(loop: Loop, round_: Round, source: str) -> Checkpoint:
    """Return the checkpoint that a draw, or a reference, names."""
    if source == "initial":
        return need(loop.initial)
    if source.startswith("checkpoint:"):
        return checkpoint_by_name(loop.project, source.removeprefix("checkpoint:"))
    return need(round_.policy)  # current, previous: what the round starts from


def round_prompts(loop: Loop, round_: Round, recipe: Recipe, split: str) -> list[int]:
    """Return the round's prompts, drawn by the seed; every one of them where the recipe asks for all."""
    if recipe.prompts.generator != "none":
        return list(round_.written["prompt_ids"])
    ids = list(chosen_prompts(loop.project, recipe.prompts, split=split).values_list("id", flat=True))
    if any(draw.source == "data" for draw in recipe.draws):  # the data must have answered them too
        answered = data_answers(loop)
        ids = [prompt_id for prompt_id in ids if prompt_id in answered]
    if recipe.prompts.n and recipe.prompts.n < len(ids):
        rng = random.Random(derive_seed(loop.seed, "prompts", round_.index))
        ids = sorted(rng.sample(ids, recipe.prompts.n))
    return ids
