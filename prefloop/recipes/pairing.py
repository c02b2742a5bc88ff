"""Pairings: which comparisons are made of a group. Pairs are canonical (i < j) and not labelled yet.

A pair of equal scores says nothing about which is better, and a pair of equal texts can't: both are dropped and counted
(one published pair builder emits chosen == rejected when all rewards tie).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from prefloop.config import ConfigError
from prefloop.recipes.filters import scores_of
from prefloop.recipes.recipe import Pairing
from prefloop.seeds import derive_seed
from prefloop.types import Group, Pair


@dataclass(frozen=True, slots=True)
class Paired:
    """The pairs of one group, and how many were dropped because their scores or their texts are equal."""

    pairs: tuple[Pair, ...]
    n_ties: int = 0


def make_pairs(settings: Pairing, group: Group, *, seed: int, given: Sequence[Pair] = ()) -> Paired:
    """Return the comparisons that the pairing makes of a group; `given` are those that the data names.

    Raises ConfigError for a group that the pairing can't be made of.
    """
    if settings.kind == "none":
        return Paired(pairs=())
    if settings.kind == "as-given":
        return Paired(pairs=tuple(_canonical(pair) for pair in given))
    if settings.kind == "the-two":
        return _the_two(group)
    if settings.kind == "best-against-worst":
        return _best_against_worst(group, seed=seed)
    return _all_ranked(group)


def _the_two(group: Group) -> Paired:
    """The only two completions; equal scores are left to the labeller, which may be a judge."""
    if len(group.completions) != 2:
        raise ConfigError(
            f"prompt {group.prompt_id} has {len(group.completions)} completions where the pairing takes two"
        )
    return _without_ties(group, [(0, 1)], scores=None)


def _best_against_worst(group: Group, *, seed: int) -> Paired:
    """The highest against the lowest score; equals at either end are chosen between at random, by seed and prompt."""
    scores = scores_of(group)
    if len(scores) < 2:
        return Paired(pairs=())
    rng = random.Random(derive_seed(seed, "best-against-worst", group.prompt_id))
    best = rng.choice([at for at, score in enumerate(scores) if score == max(scores)])
    worst = rng.choice([at for at, score in enumerate(scores) if score == min(scores)])
    if scores[best] == scores[worst]:
        return Paired(pairs=(), n_ties=1)
    return _without_ties(group, [(min(best, worst), max(best, worst))], scores=scores)


def _all_ranked(group: Group) -> Paired:
    """Every two completions whose scores differ."""
    return _without_ties(group, combinations(range(len(group.completions)), 2), scores=scores_of(group))


def _without_ties(group: Group, indexes: Iterable[tuple[int, int]], *, scores: Sequence[float] | None) -> Paired:
    pairs: list[Pair] = []
    n_ties = 0
    for i, j in indexes:
        same_text = group.completions[i].text == group.completions[j].text
        if same_text or (scores is not None and scores[i] == scores[j]):
            n_ties += 1
        else:
            pairs.append(Pair(i, j))
    return Paired(pairs=tuple(pairs), n_ties=n_ties)


def _canonical(pair: Pair) -> Pair:
    if pair.i < pair.j:
        return pair
    return Pair(pair.j, pair.i, None if pair.p is None else 1.0 - pair.p)
