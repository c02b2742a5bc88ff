"""Win rates from a few human labels and many by a judge: prediction-powered inference.

Every comparison has the judge's score f; some have a person's score Y too. The mean of Y is estimated by

    λ · mean(f over the comparisons without a person) + mean(Y - λ f over those with one)

which is unbiased whatever the judge's bias is, as long as the comparisons that people judged are a random share of
all. λ = 1 is Angelopoulos et al. 2023 (Science 382, arXiv:2301.09633); PPI++ (Angelopoulos, Duchi and Zrnic 2023,
arXiv:2311.01453) takes the λ of least variance, so that a useless judge costs nothing (λ = 0: people only).

Departures: 1. λ is kept within [0, 1]. 2. The quantile is Student's rather than the normal one, and one degree of
freedom more is taken off where λ was chosen from the same n labels (n - 2, also in the variance). 3. The unit is the
comparison. 4. A win rate's interval is Wilson's with that variance, as a symmetric one misses rates far from one half.
5. Where every label agrees with the judge, the variance of the rest is that of one that had not, of n + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from prefloop.stats.intervals import score_interval, share_interval, student_quantile
from prefloop.types import Interval

Floats = NDArray[np.float64]
MIN_HUMAN = 10  # human labels below which no interval is given


@dataclass(frozen=True, slots=True)
class PPI:
    """Arrays over projects (whatever leading axes were given). `lam` is the weight of the judge."""

    estimate: Floats
    se: Floats
    low: Floats
    high: Floats
    lam: Floats
    df: int  # degrees of freedom that `se` has


def ppi_means(
    human: ArrayLike,
    judge_of_human: ArrayLike,
    judge_only: ArrayLike,
    *,
    lam: float | None = None,
    confidence: float = 0.95,
) -> PPI:
    """Estimate the mean of human scores, last axis the comparisons: (..., n), (..., n) and (..., N).

    `lam` None takes the λ of least variance. N may be 0: then it is the human mean. Needs n ≥ 2.
    """
    y, f, g = (np.asarray(v, dtype=np.float64) for v in (human, judge_of_human, judge_only))
    n, n_more = y.shape[-1], g.shape[-1]
    if f.shape != y.shape or n < 2:
        raise ValueError("two human labels or more, each with the judge's beside it")
    if n_more < 2:
        g, n_more = np.zeros((*y.shape[:-1], 2)), 0
    everything = np.concatenate([f, g], axis=-1) if n_more else f
    spread = everything.var(axis=-1, ddof=1)
    together = ((y - y.mean(axis=-1, keepdims=True)) * (f - f.mean(axis=-1, keepdims=True))).sum(axis=-1) / (n - 1)
    if not n_more:
        weight = np.zeros(y.shape[:-1])
    elif lam is None:
        best = np.divide(together, spread * (1 + n / n_more), out=np.zeros_like(spread), where=spread > 0)
        weight = np.clip(best, 0.0, 1.0)
    else:
        weight = np.full(y.shape[:-1], float(lam))
    rest = y - weight[..., None] * f
    estimate = rest.mean(axis=-1) + weight * g.mean(axis=-1)
    df = max(n - 1 - (lam is None and n_more > 0), 1)
    variance = rest.var(axis=-1) / df
    if n_more:
        variance = variance + weight**2 * g.var(axis=-1, ddof=1) / n_more
    se = np.sqrt(variance)
    half = student_quantile(df, confidence) * se
    return PPI(estimate, se, estimate - half, estimate + half, weight, df)


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval; None if there are too few labels."""

    n: int
    rate: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class WinRates:
    """One model's win rate in three ways, and the labels needed to know it better."""

    human: Rate
    judge: Rate  # over every comparison; its interval knows nothing of the judge's bias
    both: Rate
    lam: float | None
    correlation: float | None  # of the judge's score with the person's
    variance: float | None  # of a human label
    n_comparisons: int

    def more_labels(self, half_width: float, *, confidence: float = 0.95) -> int | None:
        """Say how many more human labels, of comparisons that the judge has judged, make the interval ±
        `half_width`; None if that can't be computed or reached. Votes without a judge's verdict correct nothing and
        do not count.
        """
        if self.variance is None or self.correlation is None:
            return None
        total = labels_needed(
            half_width,
            variance=self.variance,
            correlation=self.correlation,
            n_comparisons=self.judge.n,
            confidence=confidence,
        )
        return None if total is None else max(0, total - self.both.n)


def win_rates(human: ArrayLike, judge: ArrayLike, *, confidence: float = 0.95) -> WinRates:
    """Estimate a win rate from scores (1, ½, 0) per comparison: `human` NaN if nobody voted, `judge` NaN if it has no
    verdict.

    Comparisons without the judge's score count for the human figure only.
    """
    y, f = np.asarray(human, dtype=np.float64).ravel(), np.asarray(judge, dtype=np.float64).ravel()
    if y.shape != f.shape:
        raise ValueError("one score of each kind a comparison")
    said, judged = np.isfinite(y), np.isfinite(f)
    both, only = said & judged, judged & ~said
    n = int(both.sum())
    lam = correlation = variance = None
    combined = Rate(n, None, None)
    if n >= 2:
        found = ppi_means(y[both], f[both], f[only], confidence=confidence)
        lam = float(found.lam)
        rate, ends = min(1.0, max(0.0, float(found.estimate))), None
        if n >= MIN_HUMAN:
            left = max(float(found.se), 1 / (n + 1)) ** 2  # of one label of n + 1 that the judge misses
            ends = score_interval(rate, left, n_items=n, df=found.df, confidence=confidence)
        combined = Rate(n, rate, ends)
        spread = y[both].std(ddof=1), f[both].std(ddof=1)
        variance = float(spread[0] ** 2) or None
        if min(spread) > 0:
            correlation = float(np.corrcoef(y[both], f[both])[0, 1])
    return WinRates(
        human=_plain(y[said], confidence),
        judge=_plain(f[judged], confidence),
        both=combined,
        lam=lam,
        correlation=correlation,
        variance=variance,
        n_comparisons=int((said | judged).sum()),
    )


def labels_needed(
    half_width: float, *, variance: float, correlation: float, n_comparisons: int, confidence: float = 0.95
) -> int | None:
    """Say how many human labels of `n_comparisons` make the interval ± `half_width`; None if not even all of them do.

    With the best λ and N = T - n comparisons left to the judge the variance is σ²(1 - ρ²)/n + σ²ρ²/T, solved for n.
    """
    if half_width <= 0 or variance < 0 or n_comparisons < 1:
        raise ValueError("a positive width of at least one comparison")
    wanted = (half_width / float(ndtri(0.5 + confidence / 2))) ** 2
    rho2 = max(correlation, 0.0) ** 2
    left = wanted - rho2 * variance / n_comparisons
    if left <= 0:
        return None
    needed = ceil(variance * (1.0 - rho2) / left - 1e-9)
    return max(needed, 2) if needed <= n_comparisons else None


def _plain(scores: Floats, confidence: float) -> Rate:
    n = len(scores)
    if not n:
        return Rate(0, None, None)
    mean = float(scores.mean())
    return Rate(n, mean, share_interval(scores, np.ones(n), confidence=confidence) if n >= MIN_HUMAN else None)
