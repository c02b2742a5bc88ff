"""A round's review gate: which labels are worth a person's time, and when they have all been looked at."""

from __future__ import annotations

import random

from apps.judging.models import Judge
from apps.rankings.models import Override
from apps.rankings.selectors.review import review_judge, uncertainty
from apps.training.labels import round_origin, trainable
from apps.training.models import Loop, Round
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed

RANDOM_SHARE = 0.2  # of the budget of `uncertain`: what nobody doubts must be looked at too


def gate_judge(loop: Loop) -> Judge | None:
    """Whose labels people look over: the loop's judge, else the one that the review page shows by itself."""
    return loop.judge or review_judge(loop.project)


def review_choose(*, loop: Loop, round_: Round, recipe: Recipe) -> list[int]:
    """Return the comparisons that go to people, most informative first, at most the recipe's budget (0: no limit).

    Only what a judge has labelled can be reviewed: without a judge there is nothing to look over.
    """
    judge = gate_judge(loop)
    if judge is None:
        return []
    comparisons = trainable(loop)
    if recipe.label.by == "scores":
        comparisons = comparisons.filter(origin=round_origin(loop, round_.index))
    else:
        comparisons = comparisons.exclude(origin__startswith="loop:")
    ids = list(comparisons.filter(verdicts__judge=judge).distinct().values_list("id", flat=True))
    budget = min(recipe.review.budget or len(ids), len(ids))
    rng = random.Random(derive_seed(loop.seed, "review", round_.index))
    if recipe.review.mode == "all":
        return ids
    if recipe.review.mode == "sample":
        return rng.sample(ids, budget)
    worth = uncertainty(ids, judge, seed=loop.seed)
    ranked = sorted(worth, key=lambda key: (-worth[key].value, key))
    sure = round(budget * (1 - RANDOM_SHARE))
    chosen = ranked[:sure]
    rest = sorted(set(ids) - set(chosen))
    return chosen + rng.sample(rest, min(budget - len(chosen), len(rest)))


def reviewed_ids(round_: Round) -> set[int]:
    """Return those of the gate's comparisons on which a decision stands."""
    return set(
        Override.objects.filter(
            comparison_id__in=round_.review_comparison_ids,
            superseded_by__isnull=True,
            kind__in=("agree", "override"),
        ).values_list("comparison_id", flat=True)
    )


def review_is_done(round_: Round) -> bool:
    return reviewed_ids(round_) >= set(round_.review_comparison_ids)
