"""Whose scores or labels a loop uses, and the reward model that it trains first if the project has none."""

from __future__ import annotations

from typing import Any

from apps.judging.selectors import NoJudge, judge_by_name
from apps.labels.models import Judge
from apps.labels.selectors import label_judge
from apps.projects.models import Project
from apps.training.models import Loop, TrainingRun
from prefloop.judging.kinds import ATTACK, SCORES, STEP_LABELS, STEP_SCORES, Joint
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe, ai_label
from prefloop.types import PrefloopError

REWARD_MODEL_JUDGE = "reward-model"
MADE_JUDGES = (REWARD_MODEL_JUDGE, AI_REWARD_MODEL)  # from the project's labels; from a judge's alone


class LoopRefused(PrefloopError):
    """A loop that can't start, and what is missing.

    `offer`: how the page can provide it: "import", "prompts", "labels", or "recipe:NAME", a loop that makes it.
    """

    def __init__(self, text: str, *, offer: str = "") -> None:
        super().__init__(text)
        self.offer = offer


def loop_judge(project: Project, recipe: Recipe) -> Judge | None:
    """Return the judge whose scores (or labels) the loop uses; None: none, or a reward model that is trained first.

    Raises LoopRefused for a judge that can't score, NoJudge for an unknown one.
    """
    if recipe.label.by == "judge" and recipe.score.by != "judge":
        return _comparing_judge(project, recipe)
    if recipe.score.by == "judge":
        name = recipe.score.judge
        if name in MADE_JUDGES:
            return _made_judge(project, name, recipe)
        return _usable(judge_by_name(project, name), STEP_SCORES if recipe.learns_in_steps else SCORES)
    if recipe.label.by == "preferences" and recipe.label.named_judge:
        return judge_by_name(project, recipe.label.judge)
    return None


def _made_judge(project: Project, name: str, recipe: Recipe) -> Judge | None:
    """Return the judge that a loop makes first if it is missing, or if it was trained on other labels."""
    try:
        judge = judge_by_name(project, name)
    except NoJudge:
        return None
    if name == AI_REWARD_MODEL and judge.checkpoint is not None:
        run = TrainingRun.objects.filter(output=judge.checkpoint).select_related("snapshot").first()
        made_with = run.snapshot.label_policy if run is not None and run.snapshot is not None else {}
        if made_with.get("ai", label_policy(recipe)["ai"]) != label_policy(recipe)["ai"]:
            return None
    return judge


def _comparing_judge(project: Project, recipe: Recipe) -> Judge | None:
    """Return who compares new answers; None: a reward model that is trained first. Raises LoopRefused, NoJudge."""
    name = recipe.label.judge
    if not name and (found := language_model(project)) is not None:
        return found
    if name in ("", REWARD_MODEL_JUDGE):
        return _made_judge(project, REWARD_MODEL_JUDGE, recipe)
    return _usable(judge_by_name(project, name), STEP_LABELS)


def language_model(project: Project) -> Judge | None:
    """Return the language model that labels if no judge is named: the project's label judge, else the newest.

    One that compares pairs by itself, by no named criterion; a simulated one is none.
    """
    judges = Judge.objects.filter(project=project, retired_at=None, is_simulated=False, criterion_name="").order_by(
        "-id"
    )
    able = [
        judge for judge in judges if not (judge.gives_scores or judge.refusal(ATTACK) or judge.refusal(STEP_LABELS))
    ]
    return next((judge for judge in able if judge.name == project.label_judge), able[0] if able else None)


def criterion_of(loop: Loop) -> str:
    """The criterion that a loop's judge judges by, and so what people correct of its labels; "" the unnamed one."""
    return loop.judge.criterion_name if loop.judge is not None else ""


def ai_judge(project: Project, recipe: Recipe) -> Judge | None:
    """Return the judge whose labels train an AI reward model: the one that the recipe names, else the project's."""
    told = ai_label(recipe)
    return judge_by_name(project, told.judge) if told.judge else label_judge(project)


def _usable(judge: Judge, joint: Joint) -> Judge:
    if refused := judge.refusal(joint):
        raise LoopRefused(refused)
    return judge


def made_judge_name(recipe: Recipe) -> str:
    """Name the judge that the loop makes first if the project lacks it; "" if it uses none of that kind."""
    if recipe.label.by == "judge" and recipe.score.by != "judge":
        return REWARD_MODEL_JUDGE if recipe.label.judge in ("", REWARD_MODEL_JUDGE) else ""
    return recipe.score.judge if recipe.score.by == "judge" and recipe.score.judge in MADE_JUDGES else ""


def label_policy(recipe: Recipe) -> dict[str, Any]:
    """Say in plain values which labels the reward model of such a loop is trained on."""
    if made_judge_name(recipe) != AI_REWARD_MODEL:
        return {"labels": get_recipe(REWARD_MODEL_JUDGE).label.labels}
    label = ai_label(recipe)
    return {"labels": label.labels, "ai": {"judge": label.judge, "labels": label.labels, "noise": label.noise}}


def needs_reward_model(loop: Loop, recipe: Recipe) -> bool:
    return bool(made_judge_name(recipe)) and loop.judge_id is None
