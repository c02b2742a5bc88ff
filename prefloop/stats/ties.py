"""Bradley–Terry with ties as outcomes of their own, rather than as half a win each.

Davidson 1970: P(i wins) ∝ e^{s_i}, P(j wins) ∝ e^{s_j}, P(tie) ∝ ν e^{(s_i + s_j)/2}.
Rao and Kupper 1967: i wins with logistic(d - τ), j with logistic(-d - τ), d = s_i - s_j, and the rest are ties;
θ = e^τ ≥ 1 is the paper's threshold. Both likelihoods are concave in strengths and in log ν or τ.

Strengths have mean 0 and sandwich errors, over items where they are known, as in `bradley_terry`. A tie counts as a way
from each player to the other, so the maximum exists where the graph of wins and ties is strongly connected, some game
was a tie and some was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prefloop.stats.bradley_terry import Design, Games, NotConverged, disconnection_reason, sandwich_reach
from prefloop.stats.clusters import Played
from prefloop.types import Interval

Floats = NDArray[np.float64]
TieModel = Literal["davidson", "rao-kupper"]

_TOLERANCE = 1e-11
_MAX_STEPS = 200
_MIN_THRESHOLD = 1e-12


@dataclass(frozen=True, slots=True)
class TieFit:
    """Mean-0 log-strengths; `tie` is Davidson's log ν, or Rao and Kupper's τ = log θ."""

    model: TieModel
    log_strength: Floats
    se: Floats
    tie: float
    tie_se: float
    n_items: int | None = None  # that the errors are clustered by; None: over games

    def interval(self, player: int, *, confidence: float = 0.95) -> Interval:
        reach = sandwich_reach(self.n_items, len(self.log_strength), confidence=confidence)
        half = reach * float(self.se[player])
        return Interval(float(self.log_strength[player]) - half, float(self.log_strength[player]) + half)


class _Terms(NamedTuple):
    """Log-likelihood of each row, its slopes in d and the tie parameter, and its curvatures (minus second slopes)."""

    value: Floats
    d: Floats
    t: Floats
    dd: Floats
    dt: Floats
    tt: Floats


def fit_with_ties(
    games: Games, *, n_players: int, model: TieModel = "davidson", played: Played | None = None
) -> TieFit:
    """Fit strengths and the tie parameter by damped Newton. Raises NotConverged where there is no finite maximum.

    `played` are the same games one by one, with their items: errors are then clustered by item.
    """
    if reason := disconnection_reason(games, n_players=n_players):
        raise NotConverged(reason)
    outcome = np.rint(2 * games.score).astype(np.int64)  # 2: a won, 1: tie, 0: b won
    if (outcome != 2 * games.score).any():
        raise ValueError("with ties a score is 1, ½ or 0")
    if not (outcome == 1).any():
        raise NotConverged("no game was a tie: the tie parameter has no finite maximum")
    if (outcome == 1).all():
        raise NotConverged("every game was a tie: the tie parameter has no finite maximum")
    terms = _davidson if model == "davidson" else _rao_kupper
    design = Design(games.a, games.b, np.zeros((len(games.a), 0)), n_players)
    theta = _newton(design, games, outcome, terms, start=0.0 if model == "davidson" else 0.5)
    at = terms(design.logits(theta), theta[-1], outcome)
    bread = _inverse(design, games.count, at)
    if played is None:
        meat = _joint(design, games.count, at.d**2, at.d * at.t, at.t**2)
    else:
        each = theta[played.a] - theta[played.b]
        one = terms(each, theta[-1], np.rint(2 * played.score).astype(np.int64))
        meat = played.meat(one.d, one.t[:, None], n_players=n_players)
    se = np.sqrt(np.clip(np.diag(bread @ meat @ bread), 0.0, None))
    strengths = theta[:n_players] - theta[:n_players].mean()
    n_items = None if played is None else played.n_items
    return TieFit(model, strengths, se[:n_players], float(theta[-1]), float(se[-1]), n_items)


def _davidson(d: Floats, eta: float, outcome: NDArray[np.int64]) -> _Terms:
    # a logit of three: δ = ½, 0, -½ times d, and the tie's own log ν
    logits = np.stack([-d / 2, np.full(len(d), eta), d / 2])
    log_p = logits - np.logaddexp.reduce(logits, axis=0)
    lost, tie, won = np.exp(log_p)
    mean = (won - lost) / 2
    value = np.take_along_axis(log_p, outcome[None, :], axis=0)[0]
    return _Terms(
        value, (outcome - 1) / 2 - mean, (outcome == 1) - tie, (won + lost) / 4 - mean**2, -mean * tie, tie * (1 - tie)
    )


def _rao_kupper(d: Floats, tau: float, outcome: NDArray[np.int64]) -> _Terms:
    tau = max(tau, _MIN_THRESHOLD)
    up, down = d - tau, -d - tau
    p, q = expit(up), expit(down)  # i wins, j wins
    # a tie's probability is (e^{2τ} - 1) p q, so its logarithm is a sum
    log_p, log_q = -np.logaddexp(0.0, -up), -np.logaddexp(0.0, -down)
    log_tie = np.log(np.expm1(2 * tau))
    slope = 2 / -np.expm1(-2 * tau)  # of log_tie in τ
    bend = (slope * (slope - 2)) * np.ones(len(d))  # minus its second slope
    won, tied, lost = outcome == 2, outcome == 1, outcome == 0
    has_p, has_q = won | tied, lost | tied
    curve_p, curve_q = has_p * p * (1 - p), has_q * q * (1 - q)
    value = np.where(has_p, log_p, 0.0) + np.where(has_q, log_q, 0.0) + np.where(tied, log_tie, 0.0)
    slope_p, slope_q = has_p * (1 - p), has_q * (1 - q)
    return _Terms(
        value,
        slope_p - slope_q,
        -slope_p - slope_q + tied * slope,
        curve_p + curve_q,
        curve_q - curve_p,
        curve_p + curve_q + tied * bend,
    )


def _joint(design: Design, count: Floats, dd: Floats, dt: Floats, tt: Floats) -> Floats:
    n = design.n_players
    out = np.zeros((n + 1, n + 1))
    out[:n, :n] = design.gram(count * dd)
    out[:n, n] = out[n, :n] = design.sums(count * dt)
    out[n, n] = float(count @ tt)
    return out


def _inverse(design: Design, count: Floats, at: _Terms) -> Floats:
    return design.inverse(_joint(design, count, at.dd, at.dt, at.tt))


def _newton(
    design: Design,
    games: Games,
    outcome: NDArray[np.int64],
    terms: Callable[[Floats, float, NDArray[np.int64]], _Terms],
    *,
    start: float,
) -> Floats:
    theta = np.zeros(design.n_players + 1)
    theta[-1] = start
    at = terms(design.logits(theta), theta[-1], outcome)
    value, total = float(games.count @ at.value), games.count.sum()
    for _ in range(_MAX_STEPS):
        gradient = np.append(design.sums(games.count * at.d), games.count @ at.t)
        if np.abs(gradient).max() <= _TOLERANCE * total:
            return theta
        step = _inverse(design, games.count, at) @ gradient
        scale = 1.0
        while True:
            tried = theta + scale * step
            if terms is not _rao_kupper or tried[-1] > _MIN_THRESHOLD:
                at_tried = terms(design.logits(tried), tried[-1], outcome)
                value_tried = float(games.count @ at_tried.value)
                if value_tried >= value - 1e-12 * abs(value) or scale <= 1e-10:
                    break
            scale /= 2.0
        theta, at, value = tried, at_tried, value_tried
    raise NotConverged(f"the fit with ties did not converge in {_MAX_STEPS} steps")
