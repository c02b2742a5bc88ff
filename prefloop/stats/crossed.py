"""The mean of a table of seeds by prompts, with an interval for what other seeds and other prompts would give.

Every seed is measured on the same prompts, so a value varies with its seed, with its prompt, and by itself:
x = mean + seed + prompt + rest. The variance of the grand mean is estimated from the mean squares of the two-way
analysis of variance, its degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 1946).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prefloop.stats.intervals import student_quantile
from prefloop.types import Interval


@dataclass(frozen=True, slots=True)
class CrossedMean:
    """A grand mean; `interval` is None with fewer than two seeds or two prompts: one says nothing about the next."""

    mean: float
    interval: Interval | None
    n_seeds: int
    n_prompts: int


def crossed_mean(table: ArrayLike, *, confidence: float = 0.95) -> CrossedMean:
    """Average a table (seeds, prompts). Raises ValueError if it is empty or holds what is not a number."""
    x = np.asarray(table, dtype=np.float64)
    if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError("a table of seeds by prompts has a number in every cell")
    n_seeds, n_prompts = x.shape
    mean = float(x.mean())
    if min(n_seeds, n_prompts) < 2:
        return CrossedMean(mean, None, n_seeds, n_prompts)
    of_seed, of_prompt = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    # mean squares, each with its degrees of freedom
    seeds = n_prompts * float(((of_seed - mean) ** 2).sum()) / (n_seeds - 1)
    prompts = n_seeds * float(((of_prompt - mean) ** 2).sum()) / (n_prompts - 1)
    rest = float(((x - of_seed - of_prompt + mean) ** 2).sum()) / ((n_seeds - 1) * (n_prompts - 1))
    # seeds + prompts - rest is unbiased; by luck it may be smaller than one of the two, which it never is in truth
    square = max(seeds + prompts - rest, seeds, prompts)
    if square <= 1e-24:
        return CrossedMean(mean, Interval(mean, mean), n_seeds, n_prompts)
    freedom = square**2 / (
        seeds**2 / (n_seeds - 1) + prompts**2 / (n_prompts - 1) + rest**2 / ((n_seeds - 1) * (n_prompts - 1))
    )
    half = student_quantile(freedom, confidence) * (square / x.size) ** 0.5
    return CrossedMean(mean, Interval(mean - half, mean + half), n_seeds, n_prompts)
