"""The real filters and pairings as laws: what is kept, and what is compared, of answers drawn from given laws.

The functions of `prefloop.recipes` run on every group that can be drawn. Where they choose at random between equal
scores, the group is arranged in every way that matters, so that each of the equal draws is chosen equally often.

What the population simplifies, and why it is the same:
1. A filter that looks at one answer at a time (thresholds) is run on groups of one.
2. The disjoint pairs of a first round are alike, two draws each: it is run on groups of two.
3. A tournament depends on the order of its answers: ordered groups are enumerated, the ranker follows the scores.
4. Rejection sampling is the paper's limit of many candidates, from the real acceptance probabilities; a finite number
   of candidates without replacement gives another law, `finite_rejection_law`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from prefloop.config import ConfigError
from prefloop.preference import p_of_difference
from prefloop.recipes.filters import acceptance_probabilities, apply_filter, keep_above, rejection_sample
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.parts import Filter, Pairing
from prefloop.tabular.draws import Drawn, Expectation, Floats, Kernel
from prefloop.tabular.world import answer
from prefloop.types import Group, Pair

FINITE_GROUPS = 500


class KeptLaw:
    """The law of what a filter keeps of n draws, and the share of draws that it keeps.

    `threshold` is for the filter of thresholds, which rises in the course of a round.
    """

    def __init__(
        self, settings: Filter, scores: Sequence[float], n: int, *, seed: int, threshold: float | None = None
    ) -> None:
        self._settings, self._scores = settings, tuple(scores)
        self._n = 1 if threshold is not None or settings.kind == "rejection" else n
        self._counts: Expectation | None = None
        if settings.kind != "rejection":
            kernel = _kept(settings, self._scores, threshold)
            self._counts = Expectation(len(scores), (self._n,), kernel, (len(scores),), seed=seed)

    @property
    def exact(self) -> bool:
        return self._counts is None or self._counts.exact

    def of(self, law: Floats) -> tuple[Floats, float]:
        """Give the law of what is kept (m,) and the acceptance. Raises ConfigError if nothing is kept."""
        if self._counts is None:
            possible = np.flatnonzero(law > 0)  # the best that there is, is the best that can be drawn
            chance = np.zeros_like(law)
            chance[possible] = acceptance_probabilities([self._scores[at] for at in possible], beta=self._settings.beta)
            kept = law * chance
        else:
            kept = self._counts.mean([law])
        total = float(kept.sum())
        if total <= 0:
            raise ConfigError("no outcome passes the filter: there is nothing to train on")
        return kept / total, total / self._n


class PairLaw:
    """The law of the comparisons made from n draws: `made[a, b]`, a the better by score if they differ."""

    def __init__(self, settings: Pairing, scores: Sequence[float] | None, sizes: Sequence[int], m: int, *, seed: int):
        self._m, self.n_sources = m, len(sizes)
        self._flat = Expectation(m, sizes, _paired(settings, scores, m), (m * m + 1,), seed=seed)

    @property
    def exact(self) -> bool:
        return self._flat.exact

    def of(self, laws: Sequence[Floats]) -> tuple[Floats, float]:
        """Give the expected pairs of a group (m, m), and how many are expected to be dropped as equal."""
        flat = self._flat.mean(laws)
        return flat[:-1].reshape(self._m, self._m), float(flat[-1])


def pair_law(
    settings: Pairing, scores: Sequence[float] | None, n: int, m: int, *, seed: int, two_laws: bool = False
) -> PairLaw:
    """Choose the groups on which the pairing has to be run; see the head of the file.

    `two_laws`: the two answers of a pair come from a law each.
    """
    if settings.kind in ("as-given", "first-round"):
        return PairLaw(settings, scores, (2,), m, seed=seed)
    if two_laws or settings.kind == "real-against-generated":
        return PairLaw(settings, scores, (1, 1), m, seed=seed)
    if settings.kind == "tournament":
        return PairLaw(settings, scores, (1,) * n, m, seed=seed)
    return PairLaw(settings, scores, (n,), m, seed=seed)


def finite_rejection_law(
    settings: Filter, scores: Sequence[float], law: Floats, n: int, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Run the real sampler on groups of n candidates: the law of what is kept (m,) and its standard error (m,)."""
    rng = np.random.default_rng(seed)
    shares = np.zeros((FINITE_GROUPS, len(law)))
    for row in range(FINITE_GROUPS):
        drawn = rng.choice(len(law), size=n, p=law).tolist()
        group = _group([(outcome, "") for outcome in drawn], scores, name=f"outcomes-{row}")
        kept = rejection_sample(group, beta=settings.beta, keep=settings.keep, seed=seed)
        shares[row] = np.bincount([int(c.text) for c in kept.completions], minlength=len(law)) / len(kept.completions)
    error = shares.std(axis=0, ddof=1) / np.sqrt(FINITE_GROUPS)
    return torch.from_numpy(shares.mean(axis=0)), torch.from_numpy(error)


def arrangements(
    outcomes: Sequence[int], scores: Sequence[float], ends: Sequence[Callable[[list[float]], float]]
) -> Iterator[tuple[int, ...]]:
    """Give the group in arrangements in which each of the equal best (or worst, by `ends`) has every place once.

    A rule that picks the k-th of the equal best, k by its seed, then picks each of them equally often. If the equal
    ones are one outcome, the choice does not matter, and one arrangement is enough.
    """
    values = [scores[outcome] for outcome in outcomes]
    arranged = [tuple(outcomes)]
    for end in ends:
        places = [at for at, value in enumerate(values) if value == end(values)]
        if len({outcomes[at] for at in places}) > 1:
            arranged = [_turned(one, places, shift) for one in arranged for shift in range(len(places))]
    yield from arranged


def _turned(outcomes: tuple[int, ...], places: Sequence[int], shift: int) -> tuple[int, ...]:
    turned = list(outcomes)
    for at, place in enumerate(places):
        turned[place] = outcomes[places[(at + shift) % len(places)]]
    return tuple(turned)


def _group(drawn: Sequence[tuple[int, str]], scores: Sequence[float] | None, name: str = "outcomes") -> Group:
    chosen = None if scores is None else tuple(scores[outcome] for outcome, _ in drawn)
    return Group(name, tuple(answer(outcome, source) for outcome, source in drawn), chosen)


def _kept(settings: Filter, scores: Sequence[float], threshold: float | None) -> Kernel:
    ends = (max,) if settings.kind == "best" else ()

    def kernel(drawn: Drawn) -> Floats:
        counts, ways = np.zeros(len(scores)), 0
        for outcomes in arrangements(drawn[0], scores, ends):
            group = _group([(outcome, "") for outcome in outcomes], scores)
            if threshold is None:
                kept = apply_filter(settings, group, seed=0)
            else:
                kept = keep_above(group, threshold=threshold)
            counts += np.bincount([int(c.text) for c in kept.completions], minlength=len(scores))
            ways += 1
        return counts / ways

    return kernel


def _paired(settings: Pairing, scores: Sequence[float] | None, m: int) -> Kernel:
    ends = (max, min) if settings.kind == "best-against-worst" else ()
    sources = ("data", "generated") if settings.kind == "real-against-generated" else ("",)

    def kernel(drawn: Drawn) -> Floats:
        flat, ways = np.zeros(m * m + 1), 0
        together = tuple(outcome for part in drawn for outcome in part)
        for outcomes in [together] if scores is None else arrangements(together, scores, ends):
            named = [(outcome, sources[min(at, len(sources) - 1)]) for at, outcome in enumerate(outcomes)]
            paired = make_pairs(settings, _group(named, scores), seed=0, given=[Pair(0, 1)])
            for pair in paired.pairs:
                a, b = outcomes[pair.i], outcomes[pair.j]
                share = _first_better(pair, None if scores is None else scores[a] - scores[b], sources)
                flat[a * m + b] += share
                flat[b * m + a] += 1 - share
            flat[-1] += paired.n_ties
            ways += 1
        return flat / ways

    return kernel


def _first_better(pair: Pair, difference: float | None, sources: Sequence[str]) -> float:
    if len(sources) > 1 and pair.p is not None:  # the data's answer is the better one, whatever it scores
        return pair.p
    return p_of_difference(difference or 0.0, noise=0.0)
