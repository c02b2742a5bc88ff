"""Intervals for shares and means of items whose rows belong together, and the bootstrap over items.

The unit is the item (a comparison, a prompt), never the verdict: an item's verdicts are correlated. A share's interval
is Wilson's with an effective number of trials from the spread between items (Korn and Graubard 1998), a mean's is the
normal one for clusters (Liang and Zeger 1986), both with Student's quantile for this number of items, so that they hold
for ten items as well as for ten thousand. `python -m prefloop.stats coverage` measures how often each contains the
truth.

A bootstrap draws items too. Each item gives a vector of sufficient statistics (say its cells of a contingency table); a
replicate is a multinomial count vector over items, so all replicates are one matrix product. Items with equal vectors
are drawn together: the distribution is the same (a multinomial lumps), and a million items with a few distinct vectors
cost as much as a few items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from prefloop.types import Interval

Floats = NDArray[np.float64]

_CHUNK_CELLS = 4_000_000  # weights held at once: 32 MB
_NO_SPREAD = 1e-18  # a variance that is nothing but rounding


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> Interval | None:
    """Give Wilson's score interval of independent trials; `successes` may hold halves (ties). None for n = 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    return None if n == 0 else _wilson(successes / n, n, normal_quantile(confidence))


def _wilson(share: float, n: float, quantile: float) -> Interval:
    z2 = quantile**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At the ends the bound is the end itself; rounding must not put it a hair inside or outside.
    low = 0.0 if share <= 0 else max(0.0, float(centre - half))
    high = 1.0 if share >= 1 else min(1.0, float(centre + half))
    return Interval(low, high)


def normal_quantile(confidence: float = 0.95) -> float:
    return float(ndtri(0.5 + confidence / 2))


def student_quantile(df: float, confidence: float = 0.95) -> float:
    """Give how many standard errors an interval extends to each side if the error was estimated from df + 1 items."""
    return float(stdtrit(max(df, 1.0), 0.5 + confidence / 2))


def score_interval(
    share: float, variance: float, *, n_items: float, df: float | None = None, confidence: float = 0.95
) -> Interval:
    """Give Wilson's interval of an estimated share in [0, 1], its variance estimated from items.

    The variance corresponds to share (1 - share) / variance independent trials; the quantile is Student's with `df`
    degrees of freedom (default n_items - 1). If items show no spread at all (all right, all wrong, all equal), it can't
    be estimated from them: then each item is one trial, which gives the widest interval.
    """
    if variance <= _NO_SPREAD or not 0.0 < share < 1.0:
        return _wilson(min(1.0, max(0.0, share)), n_items, normal_quantile(confidence))
    quantile = student_quantile(n_items - 1 if df is None else df, confidence)
    return _wilson(share, share * (1 - share) / variance, quantile)


def share_interval(
    hits: ArrayLike, n: ArrayLike, *, counts: ArrayLike | None = None, confidence: float = 0.95
) -> Interval | None:
    """Give the interval of sum(hits) / sum(n), from each item's (items,) hits among its n verdicts; hits may be halves.

    `counts` says how many items have these values; items with n = 0 are not in the sample. None with fewer than two
    items.
    """
    spread = cluster_spread(hits, n, counts=counts)
    if spread is None:
        return None
    return score_interval(spread.mean, spread.variance, n_items=spread.n_items, confidence=confidence)


def mean_interval(
    sums: ArrayLike, n: ArrayLike | None = None, *, counts: ArrayLike | None = None, confidence: float = 0.95
) -> Interval | None:
    """Give the interval of sum(sums) / sum(n), a mean of any scale over items' rows; n defaults to one row per item.

    None with fewer than two items.
    """
    spread = cluster_spread(sums, np.ones(np.shape(sums)) if n is None else n, counts=counts)
    if spread is None:
        return None
    half = student_quantile(spread.n_items - 1, confidence) * spread.variance**0.5
    return Interval(spread.mean - half, spread.mean + half)


def lean_interval(
    sums: ArrayLike, n: ArrayLike, *, counts: ArrayLike | None = None, confidence: float = 0.95
) -> Interval | None:
    """Give the interval of sum(sums) / sum(n), a mean in [-1, 1] of rows that come in items. None below two items."""
    spread = cluster_spread(sums, n, counts=counts)
    if spread is None:
        return None
    half = student_quantile(spread.n_items - 1, confidence) * spread.variance**0.5
    if half < 1e-9:  # all items alike: as far as one that differs may have been missed
        missed = wilson_interval(0, spread.n_items, confidence=confidence)
        half = missed.high if missed else half
    return Interval(max(-1.0, spread.mean - half), min(1.0, spread.mean + half))


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over rows that come in items, and its variance from the spread between items."""

    mean: float
    variance: float
    n_items: int


def cluster_spread(sums: ArrayLike, n: ArrayLike, *, counts: ArrayLike | None = None) -> Spread | None:
    """Linearise a ratio of sums over items: M / (M - 1) · Σ (sum - mean · n)² / (Σ n)². None below two items."""
    s, rows = np.asarray(sums, dtype=np.float64).ravel(), np.asarray(n, dtype=np.float64).ravel()
    if s.shape != rows.shape or (rows < 0).any():
        raise ValueError("an item has a sum and how many rows it is of")
    times = (rows > 0).astype(np.float64)
    if counts is not None:
        times *= np.asarray(counts, dtype=np.float64).ravel()
    n_items = int(times.sum())
    if n_items < 2:
        return None
    total = float(times @ rows)
    mean = float(times @ s) / total
    variance = n_items / (n_items - 1) * float(times @ (s - mean * rows) ** 2) / total**2
    return Spread(mean, variance, n_items)


@dataclass(frozen=True, slots=True)
class ItemStatistics:
    """Distinct vectors (m, d) of sufficient statistics, how many items have each (m,), and the items in all."""

    rows: Floats
    counts: NDArray[np.int64]

    @property
    def n_items(self) -> int:
        return int(self.counts.sum())


def lump(statistics: ArrayLike) -> ItemStatistics:
    """Collect equal rows of (items, d) statistics; whole numbers that aren't negative are lumped by one key a row."""
    s = np.asarray(statistics)
    if s.ndim != 2:
        raise ValueError(f"statistics are items x d, not of shape {s.shape}")
    if len(s) == 0:
        return ItemStatistics(np.zeros((0, s.shape[1])), np.zeros(0, dtype=np.int64))
    if np.issubdtype(s.dtype, np.integer) and s.size and s.min() >= 0:
        first, counts = distinct([s[:, column] for column in range(s.shape[1])])
        return ItemStatistics(s[first].astype(np.float64), counts)
    rows, counts = np.unique(s, axis=0, return_counts=True)
    return ItemStatistics(rows.astype(np.float64), counts.astype(np.int64))


def distinct(
    columns: Sequence[NDArray[Any]], weights: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the distinct rows of columns of whole numbers, none negative, in the rows' order.

    Gives the place of one row of each kind, and how many rows (or what `weights`) are of that kind.
    """
    n = len(columns[0])
    key = np.zeros(n, dtype=np.int64)
    span = 1  # keys lie below it
    for column in columns:
        base = int(column.max(initial=0)) + 1
        if span * base >= 2**62:  # number the keys there are, and go on from those
            found, inverse = np.unique(key, return_inverse=True)
            key, span = inverse.ravel().astype(np.int64), len(found)
        if base > 1:
            key = key * base + column
            span *= base
    if span <= 4 * n + 1000:  # few enough to count in an array rather than sort
        place = np.empty(span, dtype=np.int64)
        place[key[::-1]] = np.arange(n - 1, -1, -1)  # the first row of a kind is written last
        occurs = np.flatnonzero(np.bincount(key, minlength=span))
        counts = np.bincount(key, weights, span)[occurs]
        return place[occurs], np.rint(counts).astype(np.int64)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first.astype(np.int64), np.rint(np.bincount(inverse.ravel(), weights)).astype(np.int64)


def bootstrap_sums(statistics: ArrayLike | ItemStatistics, *, n_bootstrap: int = 1000, seed: int = 0) -> Floats:
    """Sum the statistics of `n_bootstrap` resamples of the items, with replacement; shape (n_bootstrap, d)."""
    lumped = statistics if isinstance(statistics, ItemStatistics) else lump(statistics)
    if n_bootstrap < 1:
        raise ValueError("a bootstrap needs a replicate")
    n, m = lumped.n_items, len(lumped.rows)
    if n == 0:
        return np.zeros((n_bootstrap, lumped.rows.shape[1]))
    rng = np.random.default_rng(seed)
    share = lumped.counts / n
    out = np.empty((n_bootstrap, lumped.rows.shape[1]))
    step = max(1, _CHUNK_CELLS // m)
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        # With every item its own vector, drawing indices is cheaper than a multinomial of m binomials.
        if m == n:
            drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        else:
            weights = rng.multinomial(n, share, size=size)
        out[start : start + size] = weights.astype(np.float64) @ lumped.rows
    return out


def percentile_interval(replicates: ArrayLike, *, confidence: float = 0.95) -> Interval | None:
    """Give the central percentiles of the replicates that are defined; None unless at least half of them are."""
    r = np.asarray(replicates, dtype=np.float64)
    defined = r[np.isfinite(r)]
    if len(defined) == 0 or 2 * len(defined) < len(r):
        return None
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def expanded(confidence: float, *, reach: float) -> float:
    """Give the share of replicates to keep so that percentiles extend `reach` standard errors if they are normal.

    A bootstrap of few items is too narrow: it uses their spread instead of the population's, and a normal quantile
    instead of Student's (Hesterberg 2015, the expanded percentile interval).
    """
    return max(confidence, 2.0 * float(ndtr(reach)) - 1.0)


def bootstrap_interval(
    statistics: ArrayLike | ItemStatistics,
    figure: Callable[[Floats], Floats],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval | None:
    """Bootstrap `figure`, which maps sums (replicates, d) to one number each, NaN where undefined.

    For a difference between two figures of the same items (a paired difference) put both figures' statistics side
    by side and let `figure` subtract.
    """
    sums = bootstrap_sums(statistics, n_bootstrap=n_bootstrap, seed=seed)
    return percentile_interval(figure(sums), confidence=confidence)


def ratio(sums: Floats) -> Floats:
    """Divide column 0 by column 1; NaN if that is 0. The figure of a share: (successes, n) per item."""
    n = sums[:, 1]
    return np.asarray(np.divide(sums[:, 0], n, out=np.full(len(sums), np.nan), where=n > 0))
