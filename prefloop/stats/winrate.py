"""Win rates, ties counting half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prefloop.stats.intervals import bootstrap_interval, ratio, wilson_interval
from prefloop.types import Interval


@dataclass(frozen=True, slots=True)
class WinRate:
    n: int
    rate: float | None
    interval: Interval | None


def win_rate(scores: ArrayLike) -> WinRate:
    """Average independent games (1, ½, 0 each), with Wilson's interval; None where there are none."""
    s = _scores(scores)
    rate = float(s.mean()) if len(s) else None
    return WinRate(len(s), rate, wilson_interval(float(s.sum()), len(s)))


def win_rate_by_prompt(
    scores: ArrayLike, prompts: ArrayLike, *, n_bootstrap: int = 1000, seed: int = 0, confidence: float = 0.95
) -> WinRate:
    """Average games, with a bootstrap over prompts: the games of one prompt rise and fall together.

    `prompts` names the prompt of each game (anything that sorts). One prompt alone has no interval.
    """
    s = _scores(scores)
    _, prompt = np.unique(np.asarray(prompts), return_inverse=True)
    if len(prompt) != len(s):
        raise ValueError(f"{len(s)} scores for {len(prompt)} prompts")
    if len(s) == 0:
        return WinRate(0, None, None)
    statistics = np.stack([np.bincount(prompt.ravel(), weights=s), np.bincount(prompt.ravel())], axis=1)
    interval = None
    if len(statistics) > 1:
        interval = bootstrap_interval(statistics, ratio, n_bootstrap=n_bootstrap, seed=seed, confidence=confidence)
    return WinRate(len(s), float(s.mean()), interval)


def _scores(scores: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    s = np.asarray(scores, dtype=np.float64).ravel()
    if ((s < 0) | (s > 1) | ~np.isfinite(s)).any():
        raise ValueError("a score lies in [0, 1]")
    return s
