"""A round's review gate: which labels need a person's review, and when all have been reviewed."""

from __future__ import annotations

import math
import random

from apps.labels.models import Judge
from apps.labels.selectors import standing_decisions
from apps.rankings.selectors.doubt import LEAST_DECISIONS, likely_wrong
from apps.rankings.selectors.review import review_judge, uncertainty
from apps.training.changes import recipe_of
from apps.training.models import Loop, Round
from apps.training.rounds.labels import round_origin, stored_of, trainable
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed

RANDOM_SHARE = 0.2  # of the budget of `uncertain`: what nobody doubts must be looked at too
# Until people decided something about the judge nobody knows what it is wrong about: a share of the budget finds out,
# half of it spent at random, and the rest goes where that says.
FIRST_SHARE, FIRST_RANDOM = 1 / 3, 0.5


def gate_judge(round_: Round) -> Judge | None:
    """The judge whose labels people review: the loop's, else the label judge by the criterion that it trains on, else
    the one with the most verdicts by it.
    """
    loop = round_.loop
    if loop.judge is not None:
        return loop.judge
    return review_judge(loop.project, criterion=_criterion(round_))


def _criterion(round_: Round) -> str | None:
    """The criterion of the labels that a round trains on; None: several, as an older loop may have at its gate."""
    name, *others = recipe_of(round_.loop, round_.index).label.weights
    return None if others else name


def review_choose(*, loop: Loop, round_: Round, recipe: Recipe) -> list[int]:
    """Return the next comparisons for people, most useful first; [] when the budget (0: no limit) is used up.

    If nothing is known about the judge, `uncertain` asks in two parts: the second goes where the first found errors.
    Only labels by a judge can be reviewed: without a judge there is nothing to review.
    """
    judge = gate_judge(round_)
    if judge is None:
        return []
    if recipe.label.by == "scores":
        comparisons = trainable(loop).filter(origin=round_origin(loop, round_.index))
    else:
        comparisons = stored_of(loop)
    ids = list(comparisons.filter(verdicts__judge=judge).distinct().values_list("id", flat=True))
    asked = set(round_.review_comparison_ids)
    budget = min(recipe.review.budget or len(ids), len(ids)) - len(asked)
    if budget <= 0 or (asked and recipe.review.mode != "uncertain"):
        return []
    rng = random.Random(derive_seed(loop.seed, "review", round_.index, len(asked)))
    if recipe.review.mode == "all":
        return ids
    if recipe.review.mode == "sample":
        return rng.sample(ids, budget)
    ids = [key for key in ids if key not in asked]
    share = RANDOM_SHARE
    value = likely_wrong(ids, judge)
    if not value:
        value = {key: worth.value for key, worth in uncertainty(ids, judge, seed=loop.seed).items()}
        first = math.ceil(budget * FIRST_SHARE)
        if not asked and LEAST_DECISIONS <= first < len(ids):
            budget, share = first, FIRST_RANDOM
    chosen = sorted(value, key=lambda key: (-value[key], key))[: round(budget * (1 - share))]
    rest = sorted(set(ids) - set(chosen))
    return chosen + rng.sample(rest, min(budget - len(chosen), len(rest)))


def reviewed_ids(round_: Round) -> set[int]:
    """Return those of the gate's comparisons that have a current decision; all of them if nobody's labels are left to
    decide on.
    """
    judge = gate_judge(round_)
    if judge is None:
        return set(round_.review_comparison_ids)
    decided = standing_decisions(judge.criterion_name).filter(comparison_id__in=round_.review_comparison_ids)
    return set(decided.values_list("comparison_id", flat=True))


def review_is_done(round_: Round) -> bool:
    return reviewed_ids(round_) >= set(round_.review_comparison_ids)
