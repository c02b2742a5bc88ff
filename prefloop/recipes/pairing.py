"""Pairings: which comparisons are made from a group. Pairs are canonical (i < j) and not labelled yet.

A pair with equal scores does not tell which is better, and in a pair with equal texts neither can be: both are dropped
and counted (one published pair builder emits chosen == rejected when all rewards tie).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from prefloop.answers import same_answer
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
    """Return the comparisons that the pairing makes from a group; `given` are those that the data names.

    Raises ConfigError for a group that the pairing can't use.
    """
    if settings.kind == "none":
        return Paired(pairs=())
    if settings.kind == "as-given":
        return Paired(pairs=tuple(_canonical(pair) for pair in given))
    if settings.kind == "the-two":
        return _the_two(group)
    if settings.kind == "real-against-generated":
        return real_against_generated(group)
    if settings.kind == "all-ranked":
        return _all_ranked(group)
    rule = {
        "best-against-worst": _best_against_worst,
        "first-round": first_round,
        "tournament": tournament,
    }[settings.kind]
    return rule(group, seed=seed)


def _the_two(group: Group) -> Paired:
    """The only two completions; with equal scores the labeller, which may be a judge, decides."""
    if len(group.completions) != 2:
        raise ConfigError(
            f"prompt {group.prompt_id} has {len(group.completions)} completions, but the pairing needs two"
        )
    return _without_ties(group, [(0, 1)], scores=None)


def _best_against_worst(group: Group, *, seed: int) -> Paired:
    """The highest against the lowest score; ties at either end are broken at random, by seed and prompt."""
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
    """All pairs of completions whose scores differ."""
    return _without_ties(group, combinations(range(len(group.completions)), 2), scores=scores_of(group))


def first_round(group: Group, *, seed: int) -> Paired:
    """Pair the completions at random: n // 2 disjoint pairs, RSO's default (arXiv:2309.06657).

    Pairs with equal texts are dropped and counted, and so are those with equal scores if the group has scores.
    """
    order = list(range(len(group.completions)))
    random.Random(derive_seed(seed, "first-round", group.prompt_id)).shuffle(order)
    pairs = sorted((min(i, j), max(i, j)) for i, j in zip(order[::2], order[1::2], strict=False))
    return _without_ties(group, pairs, scores=group.scores)


def tournament(group: Group, *, seed: int, better: Callable[[int, int], bool | None] | None = None) -> Paired:
    """Let the completions play a knock-out: m - 1 pairs, each labelled p = 1 or 0 (SLiC-HF, arXiv:2305.10425).

    `better(i, j)` says whether completion i beats j (None: neither), for instance a pairwise ranker; without it the
    scores decide. The first round is `first_round`'s with the same seed; an odd completion advances without a game. If
    neither is better, or the texts are equal, a random one advances and the pair is dropped and counted.
    """
    rule = better or _by_scores(scores_of(group))
    rng = random.Random(derive_seed(seed, "first-round", group.prompt_id))
    left = list(range(len(group.completions)))
    rng.shuffle(left)
    pairs: list[Pair] = []
    n_ties = 0
    while len(left) > 1:
        winners: list[int] = []
        for a, b in zip(left[::2], left[1::2], strict=False):
            i, j = min(a, b), max(a, b)
            same_text = same_answer(group.completions[i].text, group.completions[j].text)
            i_wins = None if same_text else rule(i, j)
            if i_wins is None:
                n_ties += 1
                winners.append(rng.choice((i, j)))
            else:
                pairs.append(Pair(i, j, float(i_wins)))
                winners.append(i if i_wins else j)
        left = winners + left[len(left) - len(left) % 2 :]
    return Paired(pairs=tuple(pairs), n_ties=n_ties)


def real_against_generated(group: Group, *, real_source: str = "data") -> Paired:
    """Pair each stored answer with each of the policy's own, the stored one labelled better (SPIN, arXiv:2401.01335).

    Stored answers are those whose `source` is `real_source`. Equal texts are dropped and counted. Raises ConfigError if
    the prompt has no stored answer.
    """
    is_real = [completion.source == real_source for completion in group.completions]
    if not any(is_real):
        raise ConfigError(f"prompt {group.prompt_id} has no completion from {real_source}")
    mixed = [(i, j) for i, j in combinations(range(len(is_real)), 2) if is_real[i] != is_real[j]]
    paired = _without_ties(group, mixed, scores=None)
    return Paired(tuple(Pair(pair.i, pair.j, float(is_real[pair.i])) for pair in paired.pairs), paired.n_ties)


def _by_scores(scores: Sequence[float]) -> Callable[[int, int], bool | None]:
    return lambda i, j: None if scores[i] == scores[j] else scores[i] > scores[j]


def _without_ties(group: Group, indexes: Iterable[tuple[int, int]], *, scores: Sequence[float] | None) -> Paired:
    pairs: list[Pair] = []
    n_ties = 0
    for i, j in indexes:
        same_text = same_answer(group.completions[i].text, group.completions[j].text)
        if same_text or (scores is not None and scores[i] == scores[j]):
            n_ties += 1
        else:
            pairs.append(Pair(i, j))
    return Paired(pairs=tuple(pairs), n_ties=n_ties)


def _canonical(pair: Pair) -> Pair:
    if pair.i < pair.j:
        return pair
    return Pair(pair.j, pair.i, None if pair.p is None else 1.0 - pair.p)
