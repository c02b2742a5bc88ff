"""Win rates as they would be if both answers were equally long.

The idea of AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv:2404.04475): fit a logistic model of who
wins with the difference of lengths as a feature, then predict with that difference at zero. Here

    P(i beats j) = logistic(s_i - s_j + φ tanh(Δ / rms(Δ))),  Δ the length of i's answer less that of j's

is fitted to all games at once, for two models as for a board of many, on any prompts.

Departures from the released AlpacaEval: 1. no term for a prompt's difficulty, which there comes from a joint fit of
its leaderboard on its own 805 prompts; 2. φ is one number for all models, not one each; 3. no ridge penalty: where the
data do not bound φ, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from prefloop.stats.bradley_terry import BradleyTerry, Games, NotConverged, fit_bradley_terry
from prefloop.stats.clusters import Played
from prefloop.stats.intervals import distinct
from prefloop.types import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LengthControl:
    """`win_rate` of each player against those it met, as often as it met them, at equal lengths; NaN: no games.

    `effect` is φ: the log-odds of a much longer answer (tanh near 1); `scale` is rms(Δ) in characters, the root mean
    square: around 0 and not around the mean, because a feature that changes its sign with the pair must not depend on
    who is named first.
    """

    win_rate: Floats
    low: Floats
    high: Floats
    raw: Floats
    effect: float
    effect_se: float
    scale: float
    fit: BradleyTerry


def length_controlled(
    a: ArrayLike,
    b: ArrayLike,
    score: ArrayLike,
    length_difference: ArrayLike,
    *,
    n_players: int,
    item: ArrayLike | None = None,
    confidence: float = 0.95,
) -> LengthControl:
    """Fit games (a's score against b; length of a's answer less b's, whole). Raises NotConverged with the reason.

    `item` says which games belong together, and errors are clustered by it; without it they are over games.
    """
    a_, b_ = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    s, delta = np.asarray(score, dtype=np.float64), np.asarray(length_difference, dtype=np.float64)
    scale = float(np.sqrt((delta**2).mean())) if len(delta) else 0.0
    if scale == 0.0:
        raise NotConverged("all answers are equally long" if len(a_) else "no games")
    played = None if item is None else Played.of(item, a_, b_, s)
    first, n = _alike(a_, b_, s, delta, n_players)
    feature: Floats = np.tanh(delta / scale)[:, None]
    games = Games.of(a_[first], b_[first], s[first], count=n, features=feature[first])
    fit = fit_bradley_terry(games, n_players=n_players, played=played, played_features=feature)
    rate, low, high = _field_rates(fit, games.a, games.b, games.count, confidence)
    met = np.bincount(a_, minlength=n_players) + np.bincount(b_, minlength=n_players)
    won = np.bincount(a_, s, n_players) + np.bincount(b_, 1 - s, n_players)
    raw = np.divide(won, met, out=np.full(n_players, np.nan), where=met > 0)
    return LengthControl(rate, low, high, raw, float(fit.effects[0]), float(fit.effects_se[0]), scale, fit)


def _alike(a: Ints, b: Ints, score: Floats, delta: Floats, n_players: int) -> tuple[Ints, Floats]:
    """Find games of one pair, outcome and difference: the place of one of each kind, and how many there are."""
    halves, whole = np.rint(2 * score).astype(np.int64), np.rint(delta).astype(np.int64)
    if (halves != 2 * score).any() or (whole != delta).any():
        return np.arange(len(a), dtype=np.int64), np.ones(len(a))
    first, counts = distinct([a * n_players + b, halves, whole - whole.min()])
    return first, counts.astype(np.float64)


def _field_rates(
    fit: BradleyTerry, a: Ints, b: Ints, count: Floats, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Average each player's win probabilities over its games, with the delta method's interval on the log-odds."""
    n = len(fit.log_strength)
    met = np.bincount(a * n + b, count, n * n).reshape(n, n)
    met = met + met.T
    games = met.sum(axis=1)
    share = np.divide(met, games[:, None], out=np.zeros_like(met), where=games[:, None] > 0)
    chance = expit(np.subtract.outer(fit.log_strength, fit.log_strength))
    rate = (share * chance).sum(axis=1)
    slope = share * chance * (1.0 - chance)  # of the rate in -s_j; the player's own slope is their sum
    jacobian = np.diag(slope.sum(axis=1)) - slope
    variance = np.einsum("ij,jk,ik->i", jacobian, fit.covariance, jacobian)
    odds = rate * (1.0 - rate)
    half = fit.reach(confidence=confidence) * np.sqrt(np.clip(variance, 0.0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, width = np.log(rate / (1.0 - rate)), half / odds
        low, high = expit(centre - width), expit(centre + width)
    unmet = games == 0
    return tuple(np.where(unmet, np.nan, v) for v in (rate, low, high))  # type: ignore[return-value]  # three of them


def interval_of(control: LengthControl, player: int) -> Interval | None:
    low, high = float(control.low[player]), float(control.high[player])
    return Interval(low, high) if np.isfinite(low) and np.isfinite(high) else None
