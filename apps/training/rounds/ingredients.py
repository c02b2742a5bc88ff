"""The reward model that a loop trains before its first round, if it needs one and the project has none."""

from __future__ import annotations

from django.db import transaction

from apps.jobs.models import JobGroup
from apps.judging.services import judge_create, judging_run_create, judging_run_enqueue
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.training.changes import recipe_of
from apps.training.models import Loop, Round, TrainingRun
from apps.training.rounds.labels import reward_model_labels, stored_of
from apps.training.rounds.loop_judge import ai_judge, label_policy, loop_judge, made_judge_name
from apps.training.rounds.material import start_of
from apps.training.sets.runs import training_run_create, training_run_enqueue
from apps.training.sets.snapshots import NothingToTrainOn, snapshot_create
from prefloop.judging.kinds import ASKING, REWARD_MODEL
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.seeds import trainer_seed


def comparisons_to_ask(loop: Loop, round_: Round, recipe: Recipe) -> list[int]:
    """Return the comparisons that the judge of an AI reward model must label first: all if it has no verdicts yet.

    A judge with some verdicts is used as it is, unless this loop ran it and was interrupted.
    """
    if made_judge_name(recipe) != AI_REWARD_MODEL:
        return []
    judge = ai_judge(loop.project, recipe)
    if judge is None or judge.refusal(ASKING):
        return []
    ids = list(stored_of(loop).values_list("id", flat=True))
    said = set(judge.verdicts.filter(comparison__project=loop.project).values_list("comparison_id", flat=True))
    if said.intersection(ids) and round_.judging_run_id is None:
        return []
    return [key for key in ids if key not in said]


def first_verdicts_jobs(loop: Loop, round_: Round, recipe: Recipe) -> JobGroup:
    """Run the judge of an AI reward model on the stored comparisons; when resumed, only the rest is asked."""
    payload = {"loop": loop.pk}
    run = round_.judging_run
    if run is not None:
        return judging_run_enqueue(run=run, follow_up_kind="rounds.advance", follow_up_payload=payload)
    judge = ai_judge(loop.project, recipe)
    if judge is None:
        raise NothingToTrainOn("the project has no judge whose labels a reward model could learn")
    run = judging_run_create(
        project=loop.project,
        judge=judge,
        comparison_ids=comparisons_to_ask(loop, round_, recipe),
        purpose="loop",
        started_by=loop.started_by,
        follow_up_kind="rounds.advance",
        follow_up_payload=payload,
    )
    Round.objects.filter(pk=round_.pk).update(judging_run=run)
    if run.group is None:
        raise AssertionError("a judging run has its jobs")
    return run.group


def reward_model_jobs(loop: Loop, round_: Round) -> JobGroup:
    """Enqueue the training of the loop's reward model, from the project's labels. Raises NothingToTrainOn."""
    run = TrainingRun.objects.filter(round=round_, kind="reward-model").first()
    if run is None:
        recipe = get_recipe("reward-model")
        initial = start_of(loop)
        snapshot = snapshot_create(
            project=loop.project,
            name=f"loop-{loop.pk}-reward-model",
            labels=reward_model_labels(loop, round_),
            start=initial,
            label_policy=label_policy(recipe_of(loop, 0)),
        )
        run = training_run_create(
            project=loop.project,
            round_=round_,
            kind="reward-model",
            snapshot=snapshot,
            start=initial,
            reference=None,
            objective=recipe.objective,
            adapter=recipe.adapter,
            seed=trainer_seed(loop.seed, "reward-model"),
        )
    return training_run_enqueue(run=run, follow_up_payload={"loop": loop.pk})


def reward_model_adopt(loop: Loop, checkpoint: Checkpoint) -> None:
    """Make the judge that scores with this reward model, and give it to the loop."""
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=loop.project_id)  # another loop may have just made one
        recipe = recipe_of(loop, 0)
        judge = loop_judge(loop.project, recipe)
        if judge is None:
            judge = judge_create(
                project=loop.project,
                name=made_judge_name(recipe),
                kind=REWARD_MODEL.name,
                checkpoint=checkpoint,
            )
        Loop.objects.filter(pk=loop.pk, judge=None).update(judge=judge)
