"""The reward model that a loop makes before its first round, where it needs one and the project has none."""

from __future__ import annotations

from django.db import transaction

from apps.jobs.models import JobGroup
from apps.judging.services import judge_create
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.training.changes import recipe_of
from apps.training.labels import reward_model_labels
from apps.training.loops import loop_judge, made_judge_name
from apps.training.material import start_of
from apps.training.models import Loop, Round, TrainingRun
from apps.training.runs import training_run_create, training_run_enqueue
from apps.training.snapshots import snapshot_create
from prefloop.recipes.catalogue import get_recipe
from prefloop.seeds import trainer_seed


def reward_model_jobs(loop: Loop, round_: Round) -> JobGroup:
    """Enqueue the training of the loop's reward model, from the project's labels. Raises NothingToTrainOn."""
    run = TrainingRun.objects.filter(round=round_, kind="reward-model").first()
    if run is None:
        recipe = get_recipe("reward-model")
        initial = start_of(loop)
        snapshot = snapshot_create(
            project=loop.project,
            name=f"loop-{loop.pk}-reward-model",
            labels=reward_model_labels(loop),
            start=initial,
            label_policy={"labels": recipe.label.labels},
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
    """Make the judge that scores by this reward model, and give it to the loop."""
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=loop.project_id)  # another loop may have just made one
        recipe = recipe_of(loop, 0)
        judge = loop_judge(loop.project, recipe)
        if judge is None:
            judge = judge_create(
                project=loop.project,
                name=made_judge_name(recipe),
                kind="reward_model",
                checkpoint=checkpoint,
            )
        Loop.objects.filter(pk=loop.pk, judge=None).update(judge=judge)
