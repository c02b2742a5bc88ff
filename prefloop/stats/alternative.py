"""The alternative annotator test: can this judge replace one of the people?

Calderon, Reichart and Dror 2025, arXiv:2501.10970, with its released code. Each person in turn is left out; on the
items they share with others, the judge and the person are both scored by how many of the others they agree with. The
judge wins an item if its score is at least the person's, and the other way round. The person's own advantage must be
less than ε, the extra cost of the person's time: H0 is "person's wins - judge's wins ≥ ε", a one-sided t-test over
items. With Benjamini–Yekutieli at q over people, the winning rate ω is the share of people whose H0 is rejected; ω ≥ ½
passes. The advantage probability ρ is the judge's mean share of items won (ties count for both).

The paper's ε: 0.2 for experts, 0.15 for skilled annotators, 0.1 for crowd workers. It asks for three people, and 30
items each (below that a t-test isn't fit).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

EPSILON = 0.15
MIN_PEOPLE = 3
MIN_ITEMS = 30


@dataclass(frozen=True, slots=True)
class Against:
    """The judge against one person: `judge_wins` ρ_j and `person_wins`, shares of n items; ties count for both."""

    rater: int
    n: int
    judge_wins: float
    person_wins: float
    p_value: float
    rejected: bool  # the person's edge is less than ε


@dataclass(frozen=True, slots=True)
class AlternativeAnnotator:
    """`passed` is None if there are too few people or items to tell; `reason` then says which."""

    epsilon: float
    people: tuple[Against, ...]
    winning_rate: float | None
    advantage: float | None
    passed: bool | None
    reason: str


def alternative_annotator_test(
    item: ArrayLike,
    rater: ArrayLike,
    outcome: ArrayLike,
    judge: ArrayLike,
    *,
    epsilon: float = EPSILON,
    q: float = 0.05,
    min_items: int = MIN_ITEMS,
    min_people: int = MIN_PEOPLE,
) -> AlternativeAnnotator:
    """Test a judge's label of each item (codes; negative: none) against votes, one per (item, rater), codes ≥ 0."""
    i, r, o = (np.asarray(c, dtype=np.int64).ravel() for c in (item, rater, outcome))
    label = np.asarray(judge, dtype=np.int64)
    use = (o >= 0) & (label[i] >= 0) if len(i) else np.zeros(0, dtype=bool)
    i, r, o = i[use], r[use], o[use]
    if not len(i):
        return AlternativeAnnotator(epsilon, (), None, None, None, "no comparison has both the judge and people")
    k = int(max(o.max(), label.max())) + 1
    met = np.bincount(i, minlength=len(label))[i] > 1
    i, r, o = i[met], r[met], o[met]
    counts = np.bincount(i * k + o, minlength=len(label) * k).reshape(len(label), k)
    # how many of the others each agrees with; the person's own vote is not among them
    person = counts[i, o] - 1
    machine = counts[i, label[i]] - (o == label[i])
    people = _against(r, machine >= person, person >= machine, epsilon, min_items)
    if len(people) < min_people:
        reason = (
            f"{len(people)} of the {min_people} people it takes share {min_items} comparisons or more with others"
            " and the judge"
        )
        return AlternativeAnnotator(epsilon, people, None, None, None, reason)
    people = _controlled(people, q)
    rate = float(np.mean([a.rejected for a in people]))
    return AlternativeAnnotator(epsilon, people, rate, float(np.mean([a.judge_wins for a in people])), rate >= 0.5, "")


def _against(
    rater: Ints, judge_wins: NDArray[np.bool_], person_wins: NDArray[np.bool_], epsilon: float, min_items: int
) -> tuple[Against, ...]:
    found = []
    edge = person_wins.astype(np.float64) - judge_wins
    n = np.bincount(rater)
    for code in np.flatnonzero(n >= max(min_items, 2)).tolist():
        rows = rater == code
        own = edge[rows]
        found.append(
            Against(
                code,
                int(n[code]),
                float(judge_wins[rows].mean()),
                float(person_wins[rows].mean()),
                _p_value(own, epsilon),
                False,
            )
        )
    return tuple(found)


def _p_value(edge: Floats, epsilon: float) -> float:
    """One-sided t-test of mean(edge) ≥ ε; if all items have the same value there is nothing to estimate."""
    n, mean, spread = len(edge), float(edge.mean()), float(edge.std(ddof=1))
    if spread == 0.0:
        return 0.0 if mean < epsilon else 1.0
    return float(stdtr(n - 1, (mean - epsilon) / (spread / n**0.5)))


def _controlled(people: tuple[Against, ...], q: float) -> tuple[Against, ...]:
    """Reject by Benjamini and Yekutieli 2001: all up to the largest k with p_(k) ≤ k q / (m Σ 1/j)."""
    m = len(people)
    p = np.array([a.p_value for a in people])
    order = np.argsort(p, kind="stable")
    allowed = np.arange(1, m + 1) * q / (m * (1.0 / np.arange(1, m + 1)).sum())
    below = np.flatnonzero(p[order] <= allowed)
    rejected = set(order[: below[-1] + 1].tolist()) if len(below) else set()
    return tuple(
        Against(a.rater, a.n, a.judge_wins, a.person_wins, a.p_value, at in rejected) for at, a in enumerate(people)
    )
