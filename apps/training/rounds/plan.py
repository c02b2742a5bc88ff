"""The stages that a round goes through, in order: the one list that is done, shown and forecast."""

from __future__ import annotations

from apps.training.models import Loop, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.loop_judge import needs_reward_model
from apps.training.rounds.self_rewarding import needs_start
from apps.training.rounds.stages.base import RoundStage
from apps.training.rounds.stages.evaluate import Evaluating
from apps.training.rounds.stages.judge import Judging
from apps.training.rounds.stages.learn import Freezing, Training
from apps.training.rounds.stages.prepare import Preparing
from apps.training.rounds.stages.review import Reviewing
from apps.training.rounds.stages.sample import Sampling
from prefloop.recipes.recipe import Recipe

STAGES: tuple[RoundStage, ...] = (
    Preparing(),
    Sampling(),
    Judging(),
    Reviewing(),
    Freezing(),
    Training(),
    Evaluating(),
)
STAGE_OF = {stage.key: stage for stage in STAGES}


def plan_of(recipe: Recipe, index: int, *, prepares: bool = False) -> tuple[RoundStage, ...]:
    """Return the stages of round `index`; round 0 only measures. `prepares`: an ingredient is made first."""
    return tuple(stage for stage in STAGES if stage.applies(recipe, index, prepares=prepares))


def foresee(ahead: Ahead, index: int) -> Foreseen:
    """Say what round `index` of a loop that is not started yet will do."""
    plan = plan_of(ahead.recipe, index, prepares=bool(ahead.makes) or ahead.teaches_start)
    return sum((stage.foresee(ahead, index) for stage in plan), Foreseen())


def stage_of(key: str) -> RoundStage:
    return STAGE_OF[Stage(key)]


def prepares(loop: Loop, recipe: Recipe) -> bool:
    """Whether the loop makes (or made) its own reward model, or its own start, before its first round."""
    return (
        needs_reward_model(loop, recipe)
        or needs_start(loop, recipe)
        or TrainingRun.objects.filter(round__loop=loop, round__index=0).exists()
    )
