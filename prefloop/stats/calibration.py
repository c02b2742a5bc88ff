"""Calibration of a judge's soft labels: reliability curve, expected calibration error, Brier score.

A soft label is the probability that the first answer is better; truth is 1, ½ (a tie) or 0. Bins are of equal width.
Sources: Brier 1950; DeGroot and Fienberg 1983; Naeini et al. 2015 (ECE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefloop.stats.intervals import share_interval
from prefloop.types import Interval

Floats = NDArray[np.float64]
N_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Soft labels of one bin: their number, their mean, and how often the first answer was truly better."""

    low: float
    high: float
    n: int
    said: float
    true: float
    interval: Interval | None  # of `true`, over items; None where the bin has rows of one item alone


@dataclass(frozen=True, slots=True)
class Calibration:
    n: int
    bins: tuple[Bin, ...]  # those that hold something
    ece: float | None
    brier: float | None
    brier_interval: Interval | None  # rows of one item belong together


def calibration(
    p: ArrayLike,
    truth: ArrayLike,
    *,
    item: ArrayLike | None = None,
    n_bins: int = N_BINS,
) -> Calibration:
    """Compare soft labels (n,) with truth (n,) in [0, 1]; `item` says which rows belong together. NaN rows are left
    out.
    """
    said, true = np.asarray(p, dtype=np.float64).ravel(), np.asarray(truth, dtype=np.float64).ravel()
    owner = np.arange(len(said)) if item is None else np.asarray(item).ravel()
    if not len(said) == len(true) == len(owner):
        raise ValueError("soft labels and truth of one length")
    keep = np.isfinite(said) & np.isfinite(true)
    said, true, owner = said[keep], true[keep], owner[keep]
    if ((said < 0) | (said > 1) | (true < 0) | (true > 1)).any():
        raise ValueError("a probability lies in [0, 1]")
    n = len(said)
    if not n:
        return Calibration(0, (), None, None, None)
    place = np.minimum((said * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    sum_said, sum_true = np.bincount(place, said, n_bins), np.bincount(place, true, n_bins)
    _, owner = np.unique(owner, return_inverse=True)
    n_items = int(owner.max()) + 1
    _, cell = np.unique(place * n_items + owner, return_inverse=True)  # an item's rows in a bin belong together
    rows, true_of = np.bincount(cell), np.bincount(cell, true)
    bin_of = np.zeros(len(rows), dtype=np.int64)
    bin_of[cell] = place
    bins = tuple(
        Bin(
            low=k / n_bins,
            high=(k + 1) / n_bins,
            n=int(count[k]),
            said=float(sum_said[k] / count[k]),
            true=float(sum_true[k] / count[k]),
            interval=share_interval(true_of[bin_of == k], rows[bin_of == k]),
        )
        for k in np.flatnonzero(count).tolist()
    )
    ece = float(np.abs(sum_said - sum_true).sum() / n)
    loss = (said - true) ** 2
    brier = share_interval(np.bincount(owner, loss), np.bincount(owner))  # in [0, 1], as a share is
    return Calibration(n, bins, ece, float(loss.mean()), brier)
