"""Estimating where a judge is likely wrong, from people's decisions about its other labels.

A judge with a bias (it likes length, say) is as sure of its wrong labels as of its right ones, so a small margin does
not find them. What its wrong labels have in common does: a logistic regression on a few properties of a label. A
handful of decisions is enough for it, because a wide prior holds every weight near zero without evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_SD = 1.0  # of each weight, on standardised properties
_STEPS = 25


@dataclass(frozen=True, slots=True)
class LabelTraits:
    """What is known about a label without knowing whether it is right; `n_chars` is the length of both answers."""

    p_first: float
    n_chars: tuple[int, int]
    against: float = 0.0  # share of other judges that say otherwise

    def properties(self) -> tuple[float, ...]:
        """How sure it is; how much longer its preferred answer is (log ratio, and its square); who disagrees."""
        first, second = (math.log(1 + n) for n in self.n_chars)
        longer = first - second if self.p_first >= 0.5 else second - first
        return abs(self.p_first - 0.5), longer, longer * longer, self.against


def chance_wrong(
    decided: Sequence[tuple[LabelTraits, bool]], asked: Sequence[LabelTraits], *, prior_sd: float = PRIOR_SD
) -> list[float]:
    """Estimate for each of `asked` the probability in (0, 1) that people would correct it; `decided` has their
    decisions.

    The posterior mode of a logistic regression: weights ~ N(0, prior_sd²), the base rate of the decisions smoothed with
    one more of each. Without decisions all are equal. Source: MacKay 1992 (Laplace), as in active learning.
    """
    wrong = np.array([was for _, was in decided], dtype=float)
    base = math.log((wrong.sum() + 1) / (len(wrong) - wrong.sum() + 1)) if len(wrong) else 0.0
    if not asked:
        return []
    table = np.array([one.properties() for one in [*(traits for traits, _ in decided), *asked]])
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    known, unknown = table[: len(decided)], table[len(decided) :]
    weights = _posterior_mode(known, wrong, base, prior_sd)
    return [float(p) for p in _sigmoid(base + unknown @ weights)]


def _posterior_mode(
    table: NDArray[np.float64], wrong: NDArray[np.float64], base: float, prior_sd: float
) -> NDArray[np.float64]:
    """Newton's method; the penalised likelihood is concave, so it has one mode."""
    precision = np.eye(table.shape[1]) / prior_sd**2
    weights = np.zeros(table.shape[1])
    for _ in range(_STEPS):
        p = _sigmoid(base + table @ weights)
        slope = table.T @ (wrong - p) - precision @ weights
        curve = (table * (p * (1 - p))[:, None]).T @ table + precision
        step = np.linalg.solve(curve, slope)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-9:
            break
    return weights


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * z))
