"""Labelling by scores: fills p, the probability that the pair's first completion is better."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from prefloop.recipes.filters import scores_of
from prefloop.recipes.recipe import Label
from prefloop.seeds import derive_seed
from prefloop.types import Group, Pair


def label_by_scores(settings: Label, group: Group, pairs: Sequence[Pair], *, seed: int) -> list[Pair]:
    """Return the pairs with p filled from the difference of the group's scores.

    hard: 1, ½ or 0 by its sign; soft: σ(difference), the Bradley–Terry probability; sampled: a coin of it.
    Then the settings' share of labels is turned round.
    """
    scores = scores_of(group)
    labelled = []
    for pair in pairs:
        margin = scores[pair.i] - scores[pair.j]
        p = _label(settings.labels, margin, rng=_rng(seed, "sampled", group, pair))
        labelled.append(Pair(pair.i, pair.j, with_noise(settings, p, rng=_rng(seed, "noise", group, pair))))
    return labelled


def with_noise(settings: Label, p: float, *, rng: random.Random) -> float:
    """Turn the label round with the probability `label.noise`."""
    return 1.0 - p if settings.noise > 0 and rng.random() < settings.noise else p


def sigmoid(x: float) -> float:
    """The logistic function, without overflow at either end."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    scaled = math.exp(x)
    return scaled / (1.0 + scaled)


def _label(kind: str, margin: float, *, rng: random.Random) -> float:
    if kind == "soft":
        return sigmoid(margin)
    if kind == "sampled":
        return 1.0 if rng.random() < sigmoid(margin) else 0.0
    return 0.5 if margin == 0 else float(margin > 0)


def _rng(seed: int, what: str, group: Group, pair: Pair) -> random.Random:
    return random.Random(derive_seed(seed, what, group.prompt_id, pair.i, pair.j))
