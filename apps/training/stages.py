"""The stages of a round: what each one starts, and what it leaves when its jobs have ended.

A stage function takes one step and says whether another may follow at once. It may run twice (two jobs at once, or one
that was killed): heavy work is idempotent and every change of stage is a compare-and-set: nothing is made twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.services import (
    judge_create,
    judging_run_create,
    judging_run_enqueue,
    scoring_enqueue,
)
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name
from apps.prompts.selectors import given_prompts
from apps.samples.services import sampling_run_create, sampling_run_enqueue
from apps.training.answers import data_answers, round_pairs_create
from apps.training.ingredients import reward_model_adopt, reward_model_jobs
from apps.training.labels import trainable
from apps.training.loops import REWARD_MODEL_JUDGE, needs_reward_model
from apps.training.material import round_material, start_of
from apps.training.models import Loop, LoopState, Round, Stage, TrainingRun
from apps.training.review import review_choose, review_is_done
from apps.training.runs import training_run_create, training_run_enqueue
from apps.training.self_rewarding import needs_start, own_judge, start_adopt, start_jobs, start_run, writing_jobs
from apps.training.snapshots import NothingToTrainOn, snapshot_create
from apps.training.stepwise import online_run_create
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed, sampler_seed, trainer_seed

WORKING = (LoopState.RUNNING, LoopState.WAITING)


def _move(round_: Round, to: str, **fields: object) -> bool:
    """Go to another stage, if the round is still where we think it is."""
    return bool(
        Round.objects.filter(pk=round_.pk, stage=round_.stage, group_id=round_.group_id).update(
            stage=to, group=None, **fields
        )
    )


def _enter(round_: Round, make: Callable[[], JobGroup]) -> bool:
    """Make the stage's jobs, once: only for a round that has none yet. False: wait for them."""
    with transaction.atomic():
        loop = Loop.objects.select_for_update(no_key=True).get(pk=round_.loop_id)
        locked = Round.objects.select_for_update().get(pk=round_.pk)
        # who pauses or cancels finds all of the stage's jobs, or none
        if locked.stage != round_.stage or locked.group_id is not None or loop.state not in WORKING:
            return True  # somebody else was faster: look again
        group = make()
        Round.objects.filter(pk=round_.pk).update(group=group)
    return group.open_count == 0


def _samples(recipe: Recipe) -> bool:
    return any(draw.source != "data" for draw in recipe.draws)


def _prepare(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    if round_.index > 0:
        if recipe.learns_in_steps:
            return _move(round_, Stage.TRAINING)
        if recipe.prompts.generator != "none" and not round_.written:
            return _enter(round_, lambda: writing_jobs(loop, round_))
        return _move(round_, Stage.SAMPLING if _samples(recipe) else Stage.JUDGING)
    if needs_start(loop, recipe):
        return _make_start(loop, round_)
    if needs_reward_model(loop, recipe):
        run = loop.project.training_runs.filter(round=round_, kind="reward-model").select_related("output").first()
        if run is None or run.output is None:
            return _enter(round_, lambda: reward_model_jobs(loop, round_))
        reward_model_adopt(loop, run.output)
    return _move(round_, Stage.EVALUATION if recipe.objective.loss != "bradley-terry" else Stage.DONE, ended_at=now)


def _make_start(loop: Loop, round_: Round) -> bool:
    """Have the start learn to judge: its rows are made, it is trained on them, and the loop begins with the result."""
    run = start_run(round_)
    if run is not None and run.output is not None:
        start_adopt(loop, run.output)
        return True
    if run is None:
        return _enter(round_, lambda: start_jobs(loop, round_))
    if round_.group is not None:  # that of the rows: they are there
        return _move(round_, Stage.PREPARE)
    return _enter(round_, lambda: training_run_enqueue(run=run, follow_up_payload={"loop": loop.pk}))


def _sampling(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    if round_.group is not None:
        return _move(round_, Stage.JUDGING)

    def make() -> JobGroup:
        payload = {"loop": loop.pk}
        if round_.sampling_run is not None:
            run = round_.sampling_run
            return sampling_run_enqueue(run=run, follow_up_kind="rounds.advance", follow_up_payload=payload)
        draw = next(draw for draw in recipe.draws if draw.source != "data")
        split = "eval" if recipe.objective.loss == "none" else "train"
        run = sampling_run_create(
            project=loop.project,
            checkpoint=_drawer(loop, round_, draw.source),
            prompt_ids=_round_prompts(loop, round_, recipe, split),
            n=draw.n,
            temperature=draw.temperature,
            top_p=draw.top_p,
            top_k=draw.top_k,
            max_tokens=draw.max_tokens,
            seed=sampler_seed(loop.seed, "round", round_.index),
            purpose="loop",
            started_by=loop.started_by,
            follow_up_kind="rounds.advance",
            follow_up_payload=payload,
        )
        Round.objects.filter(pk=round_.pk).update(sampling_run=run)
        if run.group is None:
            raise AssertionError("a sampling run has its jobs")
        return run.group

    return _enter(round_, make)


def _drawer(loop: Loop, round_: Round, source: str) -> Checkpoint:
    if source == "initial":
        return _need(loop.initial)
    if source.startswith("checkpoint:"):
        return checkpoint_by_name(loop.project, source.removeprefix("checkpoint:"))
    return _need(round_.policy)  # current, previous: what the round starts from


def _round_prompts(loop: Loop, round_: Round, recipe: Recipe, split: str) -> list[int]:
    """Return the round's prompts, drawn by the seed; every one of them where the recipe asks for all."""
    if recipe.prompts.generator != "none":
        return list(round_.written["prompt_ids"])
    ids = list(given_prompts(loop.project, split=split).values_list("id", flat=True))
    if any(draw.source == "data" for draw in recipe.draws):  # the data must have answered them too
        answered = data_answers(loop)
        ids = [prompt_id for prompt_id in ids if prompt_id in answered]
    if recipe.prompts.n and recipe.prompts.n < len(ids):
        rng = random.Random(derive_seed(loop.seed, "prompts", round_.index))
        ids = sorted(rng.sample(ids, recipe.prompts.n))
    return ids


def _judging(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    if recipe.score.by == "judge" and recipe.samples:
        if round_.group is None:
            return _enter(round_, lambda: _scoring_jobs(loop, round_))
        round_pairs_create(loop=loop, round_=round_, recipe=recipe)
    elif recipe.score.by == "policy":
        if round_.group is None:  # the round's judge is the policy that it starts from
            loop.judge = own_judge(loop, recipe, _need(round_.policy))
            Loop.objects.filter(pk=loop.pk).update(judge=loop.judge)
            return _enter(round_, lambda: _scoring_jobs(loop, round_))
        round_pairs_create(loop=loop, round_=round_, recipe=recipe)
    elif recipe.label.by == "data":
        round_pairs_create(loop=loop, round_=round_, recipe=recipe)
    elif recipe.label.by == "preferences" and loop.judge is not None and round_.group is None:
        return _enter(round_, lambda: _judging_jobs(loop, round_))
    return _move(round_, Stage.REVIEW)


def _scoring_jobs(loop: Loop, round_: Round) -> JobGroup:
    run = round_.sampling_run
    if loop.judge is None or run is None:
        raise NothingToTrainOn("the loop has no judge to score its answers")
    return scoring_enqueue(
        judge=loop.judge, sampling_run=run, follow_up_kind="rounds.advance", follow_up_payload={"loop": loop.pk}
    )


def _judging_jobs(loop: Loop, round_: Round) -> JobGroup:
    payload = {"loop": loop.pk}
    if round_.judging_run is not None:
        return judging_run_enqueue(run=round_.judging_run, follow_up_kind="rounds.advance", follow_up_payload=payload)
    if loop.judge is None:
        raise NothingToTrainOn("the loop has no judge to ask")
    ids = list(trainable(loop).exclude(origin__startswith="loop:").values_list("id", flat=True))
    if loop.judge.kind == "imported":
        return group_create(
            project=loop.project,
            name=f"loop {loop.pk}: imported verdicts",
            jobs=[],
            follow_up_kind="rounds.advance",
            follow_up_payload=payload,
        )
    run = judging_run_create(
        project=loop.project,
        judge=loop.judge,
        comparison_ids=ids,
        purpose="loop",
        started_by=loop.started_by,
        follow_up_kind="rounds.advance",
        follow_up_payload=payload,
    )
    Round.objects.filter(pk=round_.pk).update(judging_run=run)
    if run.group is None:
        raise AssertionError("a judging run has its jobs")
    return run.group


def _review(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    if recipe.review.mode == "none" or recipe.objective.loss == "none":
        return _move(round_, Stage.SNAPSHOT if recipe.objective.loss != "none" else Stage.EVALUATION)
    if review_is_done(round_):
        chosen = review_choose(loop=loop, round_=round_, recipe=recipe)
        if not chosen:
            Loop.objects.filter(pk=loop.pk, state=LoopState.WAITING).update(state=LoopState.RUNNING)
            return _move(round_, Stage.SNAPSHOT)
        asked = [*round_.review_comparison_ids, *chosen]
        Round.objects.filter(pk=round_.pk).update(review_comparison_ids=asked)
        Loop.objects.filter(pk=loop.pk, state=LoopState.RUNNING).update(state=LoopState.WAITING)
        return True  # look again: people may have decided all of it meanwhile, or before
    # resumed while the gate was closed: it waits again
    Loop.objects.filter(pk=loop.pk, state=LoopState.RUNNING).update(state=LoopState.WAITING)
    return False


def _snapshot(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    step = _trainings(round_).filter(output__isnull=False).count()
    if step >= recipe.filter.n_steps:  # all of it was trained before
        return _move(round_, Stage.TRAINING)
    material = round_material(loop, round_, recipe, step=step)
    name = f"loop-{loop.pk}-round-{round_.index}" + (f"-step-{step + 1}" if step else "")
    # one transaction, behind the round's lock: of two who come at once the second finds it done
    with transaction.atomic():
        locked = Round.objects.select_for_update().get(pk=round_.pk)
        if locked.stage != round_.stage:
            return True
        if _trainings(round_).count() == step:
            snapshot = snapshot_create(
                project=loop.project,
                name=name,
                labels=material.labels,
                start=start_of(loop),
                rows=material.rows,
                sources=material.sources,
                label_policy={"recipe": loop.recipe, "label": recipe.to_json()["label"], "judge": _judge_name(loop)},
            )
            reference = recipe.objective.reference
            training_run_create(
                project=loop.project,
                round_=round_,
                kind=_run_kind(recipe),
                snapshot=snapshot,
                start=_start(loop, round_, recipe),
                reference=_drawer(loop, round_, reference) if recipe.objective.needs_reference else None,
                # ReST: the rate falls with each Improve step (by how much, the paper does not say)
                objective=replace(recipe.objective, lr=recipe.objective.lr / 2**step),
                adapter=recipe.adapter,
                seed=trainer_seed(loop.seed, "round", round_.index, *([step] if step else [])),
            )
        return _move(round_, Stage.TRAINING)


def _trainings(round_: Round) -> QuerySet[TrainingRun]:
    """The round's own training runs, oldest first: not the ingredients that round 0 makes for the loop."""
    runs = TrainingRun.objects.filter(round=round_).order_by("id")
    return runs if round_.index else runs.none()


def _start(loop: Loop, round_: Round, recipe: Recipe) -> Checkpoint:
    """Whose weights the next training of the round starts from: the one before it in this round, where there is one."""
    before = _trainings(round_).filter(output__isnull=False).select_related("output").last()
    if before is not None:
        return _need(before.output)
    return _need(loop.initial if recipe.objective.start_from == "initial" else round_.policy)


def _training(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    run = TrainingRun.objects.filter(round=round_).select_related("output").order_by("-id").first()
    if run is None:
        if recipe.learns_in_steps:
            return _online_run(loop, round_, recipe)
        return _move(round_, Stage.SNAPSHOT)
    if round_.group is None:
        return _enter(round_, lambda: training_run_enqueue(run=run, follow_up_payload={"loop": loop.pk}))
    if _trainings(round_).filter(output__isnull=False).count() < recipe.filter.n_steps:
        return _move(round_, Stage.SNAPSHOT)  # the next Improve step
    if recipe.objective.loss != "bradley-terry":
        return _move(round_, Stage.EVALUATION, output=run.output)
    with transaction.atomic():
        moved = _move(round_, Stage.EVALUATION)
        if moved and run.output is not None:
            judge_create(project=loop.project, name=REWARD_MODEL_JUDGE, kind="reward_model", checkpoint=run.output)
    return moved


def _online_run(loop: Loop, round_: Round, recipe: Recipe) -> bool:
    """Make the run of a block of steps, once."""
    prompt_ids = _round_prompts(loop, round_, recipe, "train")
    with transaction.atomic():
        Round.objects.select_for_update().get(pk=round_.pk)
        if not TrainingRun.objects.filter(round=round_).exists():
            online_run_create(
                loop=loop,
                round_=round_,
                recipe=recipe,
                prompt_ids=prompt_ids,
                start=_need(round_.policy),
                reference=_drawer(loop, round_, recipe.objective.reference),
            )
    return True


def _evaluation(loop: Loop, round_: Round, recipe: Recipe, now: datetime) -> bool:
    if round_.group is None:
        return _enter(
            round_,
            lambda: group_create(
                project=loop.project,
                name=f"evaluation of loop {loop.pk}, round {round_.index}",
                jobs=[
                    JobSpec(
                        kind="evaluation.run",
                        queue="gpu",
                        payload={"round": round_.pk},
                        title=f"Evaluate round {round_.index}",
                        unique_key=f"evaluation:{round_.pk}",
                    )
                ],
                follow_up_kind="rounds.advance",
                follow_up_payload={"loop": loop.pk},
            ),
        )
    return _move(round_, Stage.DONE, ended_at=now)


def _run_kind(recipe: Recipe) -> str:
    if recipe.run_kind is None:
        raise NothingToTrainOn(f"{recipe.name} trains nothing")
    return recipe.run_kind


def _judge_name(loop: Loop) -> str:
    return loop.judge.name if loop.judge else ""


def _need(checkpoint: Checkpoint | None) -> Checkpoint:
    if checkpoint is None:
        raise NothingToTrainOn("the loop has no policy to start from")
    return checkpoint


STAGES: dict[str, Callable[[Loop, Round, Recipe, datetime], bool]] = {
    Stage.PREPARE: _prepare,
    Stage.SAMPLING: _sampling,
    Stage.JUDGING: _judging,
    Stage.REVIEW: _review,
    Stage.SNAPSHOT: _snapshot,
    Stage.TRAINING: _training,
    Stage.EVALUATION: _evaluation,
}
