"""Bradley–Terry strengths by maximum likelihood, with errors that hold when the model does not.

P(i beats j) = logistic(s_i - s_j [+ d]), where d is the log-odds of being shown first. A tie, or both answers bad, is
half a win each. Strengths have mean 0. Standard errors are the sandwich H+ (Σ g gᵀ) H+ over games, H+ the
pseudo-inverse (Huber 1967), so that they are those of the mean-0 strengths themselves.

The maximum exists and is unique exactly when the win graph is strongly connected (Ford 1957).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, ndtri

from prefloop.types import Interval, PrefloopError

Floats = NDArray[np.float64]

_TOLERANCE = 1e-11  # of the gradient, in wins a game
_MAX_STEPS = 200
# Strengths of a strongly connected graph are finite; a position effect beyond this (it would take some hundred million
# games to see) has run away.
_MAX_POSITION_EFFECT = 20.0


class NotConverged(PrefloopError):
    """The likelihood has no finite maximum, or Newton's method didn't reach it."""


@dataclass(frozen=True, slots=True)
class Games:
    """Lumped games: `a` against `b` with `a` scoring `score` (1, ½ or 0), played `count` times.

    `shown` is +1 where a was shown first, -1 where b was, 0 where nobody knows; used by the position covariate only.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    score: Floats
    count: Floats
    shown: Floats

    @staticmethod
    def of(
        a: ArrayLike,
        b: ArrayLike,
        score: ArrayLike,
        *,
        count: ArrayLike | None = None,
        shown: ArrayLike | None = None,
    ) -> Games:
        a_, b_ = np.asarray(a, dtype=np.int64).ravel(), np.asarray(b, dtype=np.int64).ravel()
        s: Floats = np.asarray(score, dtype=np.float64).ravel()
        n: Floats = np.ones(len(a_)) if count is None else np.asarray(count, dtype=np.float64).ravel()
        f: Floats = np.zeros(len(a_)) if shown is None else np.asarray(shown, dtype=np.float64).ravel()
        if not len(a_) == len(b_) == len(s) == len(n) == len(f):
            raise ValueError("games need columns of one length")
        if (a_ == b_).any():
            raise ValueError("a game needs two different players")
        if ((s < 0) | (s > 1)).any() or (n < 0).any():
            raise ValueError("a score lies in [0, 1] and a count is not negative")
        if len(a_) == 0:
            return Games(a_, b_, s, n, f)
        rows, inverse = np.unique(np.stack([a_, b_, s, f], axis=1), axis=0, return_inverse=True)
        counts = np.bincount(inverse.ravel(), weights=n, minlength=len(rows))
        rows, counts = rows[counts > 0], counts[counts > 0]
        players = rows[:, :2].astype(np.int64)
        return Games(players[:, 0], players[:, 1], rows[:, 2], counts.astype(np.float64), rows[:, 3])


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """Mean-0 log-strengths with their sandwich errors; `first` is the log-odds of being shown first, if fitted."""

    log_strength: Floats
    se: Floats
    covariance: Floats
    first: float | None = None
    first_se: float | None = None

    def interval(self, player: int, *, confidence: float = 0.95) -> Interval:
        half = float(ndtri(0.5 + confidence / 2)) * float(self.se[player])
        return Interval(float(self.log_strength[player]) - half, float(self.log_strength[player]) + half)


def disconnection_reason(games: Games, *, n_players: int) -> str | None:
    """Say why strengths don't exist, or None where they do (everyone reaches everyone by wins; half-wins count)."""
    if n_players < 2:
        return "fewer than two models"
    if len(games.a) == 0:
        return "no games"
    a_won, b_won = games.score > 0, games.score < 1
    source = np.concatenate([games.a[a_won], games.b[b_won]])
    target = np.concatenate([games.b[a_won], games.a[b_won]])
    graph = coo_array((np.ones(len(source)), (source, target)), shape=(n_players, n_players)).tocsr()
    n_weak, _ = connected_components(graph, directed=True, connection="weak")
    if n_weak > 1:
        return f"not connected: the models fall into {n_weak} groups that never met"
    n_strong, _ = connected_components(graph, directed=True, connection="strong")
    if n_strong > 1:
        return "not strongly connected: some model or group of models won every game, or lost every one"
    return None


def fit_bradley_terry(games: Games, *, n_players: int, position: bool = False) -> BradleyTerry:
    """Fit strengths, and with `position` the log-odds of being shown first, by damped Newton.

    Raises NotConverged where the win graph is not strongly connected, where an effect runs away (the answer shown first
    always won), or where the position never varies independently of who plays.
    """
    if reason := disconnection_reason(games, n_players=n_players):
        raise NotConverged(reason)
    design = np.zeros((len(games.a), n_players + position))
    index = np.arange(len(games.a))
    design[index, games.a] = 1.0
    design[index, games.b] = -1.0
    if position:
        design[:, -1] = games.shown
        free = np.linalg.matrix_rank(design)
        if free < n_players:  # n_players - 1 for strengths, 1 for position
            raise NotConverged("the order shown can't be told from who played")
    theta = _newton(design, games)
    if position and abs(theta[-1]) > _MAX_POSITION_EFFECT:
        raise NotConverged("the effect of being shown first has no finite maximum: the order shown decides too much")
    probability = expit(design @ theta)
    weight = games.count * probability * (1.0 - probability)
    information = design.T @ (design * weight[:, None])
    bread = np.linalg.pinv(information, rcond=1e-12, hermitian=True)
    residual = games.score - probability
    meat = design.T @ (design * (games.count * residual**2)[:, None])
    covariance = bread @ meat @ bread
    se = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    return BradleyTerry(
        log_strength=theta[:n_players] - theta[:n_players].mean(),
        se=se[:n_players],
        covariance=covariance[:n_players, :n_players],
        first=float(theta[-1]) if position else None,
        first_se=float(se[-1]) if position else None,
    )


def _log_likelihood(theta: Floats, design: Floats, games: Games) -> float:
    z = design @ theta
    return float((games.count * (games.score * z - np.logaddexp(0.0, z))).sum())


def _newton(design: Floats, games: Games) -> Floats:
    theta = np.zeros(design.shape[1])
    total = games.count.sum()
    value = _log_likelihood(theta, design, games)
    for _ in range(_MAX_STEPS):
        probability = expit(design @ theta)
        gradient = design.T @ (games.count * (games.score - probability))
        if np.abs(gradient).max() <= _TOLERANCE * total:
            return theta
        weight = games.count * probability * (1.0 - probability)
        information = design.T @ (design * weight[:, None])
        # The null direction (all strengths up together) carries no gradient: least squares leaves it alone.
        step = np.linalg.lstsq(information, gradient, rcond=1e-13)[0]
        scale = 1.0
        while scale > 1e-10:
            tried = _log_likelihood(theta + scale * step, design, games)
            if tried >= value - 1e-12 * abs(value):
                break
            scale /= 2.0
        theta = theta + scale * step
        value = _log_likelihood(theta, design, games)
    raise NotConverged(f"the Bradley–Terry fit did not converge in {_MAX_STEPS} steps")
