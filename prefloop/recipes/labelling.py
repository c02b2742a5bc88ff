"""From a verdict on two answers to the label for training: p, the probability that the first is better."""

from __future__ import annotations

import random
from collections.abc import Sequence

from prefloop.preference import hardened, p_of_difference
from prefloop.recipes.filters import scores_of
from prefloop.recipes.recipe import Label
from prefloop.seeds import derive_seed
from prefloop.types import Group, Pair


def as_trained(settings: Label, p: float, *, rng: random.Random) -> float:
    """Return the label that replaces p in training.

    hard: 1 or 0 for the more likely side, ½ for a tie; soft: p itself; sampled: 1 or 0, drawn with probability p. Then
    the share of labels given in the settings is flipped.
    """
    if settings.labels == "sampled":
        p = float(rng.random() < p)
    elif settings.labels == "hard":
        p = hardened(p)
    return 1.0 - p if settings.noise > 0 and rng.random() < settings.noise else p


def label_by_scores(settings: Label, group: Group, pairs: Sequence[Pair], *, seed: int) -> list[Pair]:
    """Return the pairs with p filled from the differences of the group's scores, as it is trained on."""
    scores = scores_of(group)
    labelled = []
    for pair in pairs:
        rng = random.Random(derive_seed(seed, group.prompt_id, pair.i, pair.j))
        p = p_of_difference(scores[pair.i] - scores[pair.j])
        labelled.append(Pair(pair.i, pair.j, as_trained(settings, p, rng=rng)))
    return labelled
