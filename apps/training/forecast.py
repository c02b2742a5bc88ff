"""What a loop will cost, before it starts: prompts, answers, comparisons, steps."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from django.db.models import Q

from apps.projects.models import Project
from apps.prompts.selectors import given_prompts
from apps.rankings.models import Preference
from apps.training.loops import REWARD_MODEL_JUDGE, loop_judge, teaches
from apps.training.models import Loop, Round
from prefloop.recipes.recipe import Recipe
from prefloop.types import PrefloopError

EVALUATION_ANSWERS = 4  # a held-out prompt


@dataclass(frozen=True, slots=True)
class Forecast:
    """Counts are for the whole loop unless they say `a round`. `seconds`: from finished rounds like these, or None."""

    rounds: int
    prompts_a_round: int
    answers_a_prompt: int
    answers: int
    scores: int
    comparisons: int
    reviews: int
    steps: int
    evaluation_answers: int
    makes_reward_model: bool
    teaches_start: bool  # it learns to judge first
    seconds: float | None
    seconds_from: int  # how many finished rounds that is from


def forecast(*, project: Project, recipe: Recipe, n_rounds: int) -> Forecast:
    """Count what `n_rounds` rounds of the recipe will do here. An upper bound where answers may coincide."""
    draws = [draw for draw in recipe.draws if draw.source != "data"]
    n_answers = draws[0].n if draws else 0
    split = "eval" if recipe.objective.loss == "none" else "train"
    there = given_prompts(project, split=split).count() if draws else 0
    prompts = min(recipe.prompts.n, there) if recipe.prompts.n else there
    if recipe.prompts.generator != "none":  # as many as are wanted, where as many can be written
        prompts = recipe.prompts.n or there
    comparisons = _comparisons(project, recipe, prompts, n_answers)
    objective = recipe.objective
    trains = objective.loss != "none"
    steps = objective.epochs * -(-comparisons // objective.batch) if trains else 0
    reviews = 0
    if recipe.review.mode != "none" and trains:
        reviews = min(recipe.review.budget or comparisons, comparisons)
        reviews = comparisons if recipe.review.mode == "all" else reviews
    seconds, n_before = _seconds(project, recipe.name)
    return Forecast(
        rounds=n_rounds,
        prompts_a_round=prompts,
        answers_a_prompt=n_answers,
        answers=prompts * n_answers * n_rounds,
        scores=prompts * n_answers * n_rounds * _scores_an_answer(recipe),
        comparisons=comparisons * n_rounds,
        reviews=reviews * n_rounds,
        steps=steps * n_rounds,
        evaluation_answers=_evaluated(project, recipe) * (n_rounds + 1),
        makes_reward_model=_makes_reward_model(project, recipe),
        teaches_start=teaches(recipe),
        seconds=None if seconds is None else seconds * n_rounds,
        seconds_from=n_before,
    )


def _scores_an_answer(recipe: Recipe) -> int:
    return {"none": 0, "judge": 1, "policy": recipe.score.samples}[recipe.score.by]


def _comparisons(project: Project, recipe: Recipe, prompts: int, n: int) -> int:
    """Pairs (or, where answers are imitated, labelled comparisons) that one round trains on."""
    if recipe.label.by == "preferences" or not recipe.samples:
        labelled = Preference.objects.filter(
            ~Q(comparison__prompt__split="eval"),
            comparison__project=project,
            comparison__held_out=False,
            p_first__isnull=False,
        ).count()
        return min(recipe.prompts.n, labelled) if recipe.prompts.n else labelled
    kept = min(recipe.filter.keep, n) if recipe.filter.kind == "rejection" else n
    if recipe.objective.rows == "demonstrations":
        if recipe.filter.kind == "thresholds":  # all Improve steps together
            return round(sum(prompts * n * (1 - q) for q in recipe.filter.quantiles))
        return prompts * (kept if recipe.filter.kind in ("all", "rejection") else 1)
    if recipe.objective.rows == "groups":
        return prompts
    each = {
        "the-two": 1,
        "best-against-worst": 1,
        "first-round": kept // 2,
        "tournament": kept - 1,
        "all-ranked": kept * (kept - 1) // 2,
        "real-against-generated": n,
    }
    return prompts * each.get(recipe.pairing.kind, 0)


def _evaluated(project: Project, recipe: Recipe) -> int:
    if recipe.objective.loss == "bradley-terry":
        return 0
    return given_prompts(project, split="eval").count() * EVALUATION_ANSWERS


def _makes_reward_model(project: Project, recipe: Recipe) -> bool:
    if recipe.score.by != "judge" or recipe.score.judge != REWARD_MODEL_JUDGE:
        return False
    try:
        return loop_judge(project, recipe) is None
    except PrefloopError:
        return False


def _seconds(project: Project, name: str) -> tuple[float | None, int]:
    """The median length of a finished round of this recipe here; rounds in which people were asked are left out."""
    loops = Loop.objects.filter(project=project, recipe=name).order_by("-id").values("pk")[:20]
    rounds = Round.objects.filter(
        loop__in=list(loops.values_list("pk", flat=True)), index__gt=0, stage="done", review_comparison_ids=[]
    ).exclude(Q(started_at=None) | Q(ended_at=None))
    lengths = [
        (ended - started).total_seconds()
        for started, ended in rounds.values_list("started_at", "ended_at")
        if started and ended
    ]
    return (median(lengths), len(lengths)) if lengths else (None, 0)
