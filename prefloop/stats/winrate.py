"""Win rates, ties counting half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prefloop.stats.intervals import share_interval, wilson_interval
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


def win_rate_by_prompt(scores: ArrayLike, prompts: ArrayLike, *, confidence: float = 0.95) -> WinRate:
    """Average games, with an interval over prompts: the games of one prompt are correlated.

    `prompts` names the prompt of each game (anything that sorts). One prompt alone has no interval.
    """
    s = _scores(scores)
    _, prompt = np.unique(np.asarray(prompts), return_inverse=True)
    if len(prompt) != len(s):
        raise ValueError(f"{len(s)} scores for {len(prompt)} prompts")
    if len(s) == 0:
        return WinRate(0, None, None)
    place = prompt.ravel()
    interval = share_interval(np.bincount(place, weights=s), np.bincount(place), confidence=confidence)
    return WinRate(len(s), float(s.mean()), interval)


def _scores(scores: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    s = np.asarray(scores, dtype=np.float64).ravel()
    if ((s < 0) | (s > 1) | ~np.isfinite(s)).any():
        raise ValueError("a score lies in [0, 1]")
    return s
