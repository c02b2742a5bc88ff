"""Bradley–Terry strengths by maximum likelihood, with standard errors that are valid even if the model is wrong.

P(i beats j) = logistic(s_i - s_j [+ d] [+ β·x]), where d is the log-odds of being shown first and x are features of
the game, positive where they speak for i (a difference of lengths, say). A tie, or both answers bad, is half a win
each. Strengths have mean 0. Standard errors are the sandwich H+ (Σ g gᵀ) H+, H+ the pseudo-inverse (Huber 1967), so
that they are those of the mean-0 strengths themselves. The sum is over games, or where it is known which belong to one
item (`played`) over items, g an item's sum; intervals then have Student's quantile with as many degrees of freedom as
items are left over by the strengths, and the variance's factor for the same.

The maximum exists and is unique exactly when the win graph is strongly connected (Ford 1957).

A game's row of the design has two entries beside its features, so gradient and information are sums over games
(bincounts), never a matrix with a row a game: a million games of 200 models cost milliseconds a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from prefloop.stats.clusters import Played
from prefloop.stats.intervals import normal_quantile, student_quantile
from prefloop.types import Interval, PrefloopError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TOLERANCE = 1e-11  # of the gradient, in wins a game
_MAX_STEPS = 200
# Strengths of a strongly connected graph are finite; a position or feature effect beyond this (it would take some
# hundred million games to see) has run away.
_MAX_EFFECT = 20.0
_NO_SPREAD = 1e-18  # a variance that is nothing but rounding
_UNTOLD = 1e-9  # share of a feature that players leave unexplained, below which its effect can't be told
_DENSE_KEYS = 4_000_000  # keys that are counted in an array rather than sorted


class NotConverged(PrefloopError):
    """The likelihood has no finite maximum, or Newton's method didn't reach it."""


def _no_features() -> Floats:
    return np.zeros((0, 0))


@dataclass(frozen=True, slots=True)
class Games:
    """Lumped games: `a` against `b` with `a` scoring `score` (1, ½ or 0), played `count` times.

    `shown` is +1 where a was shown first, -1 where b was, 0 where nobody knows; used by the position covariate only.
    `features` (games, c) speak for a where positive; games with features are not lumped.
    """

    a: Ints
    b: Ints
    score: Floats
    count: Floats
    shown: Floats
    features: Floats = field(default_factory=_no_features)

    @staticmethod
    def of(
        a: ArrayLike,
        b: ArrayLike,
        score: ArrayLike,
        *,
        count: ArrayLike | None = None,
        shown: ArrayLike | None = None,
        features: ArrayLike | None = None,
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
        if features is not None:
            x: Floats = np.asarray(features, dtype=np.float64)
            if x.ndim != 2 or len(x) != len(a_) or not np.isfinite(x).all():
                raise ValueError("features are games x c, all finite")
            return Games(a_, b_, s, n, f, x)
        if len(a_) == 0:
            return Games(a_, b_, s, n, f)
        return _lumped(a_, b_, s, n, f)


def _lumped(a: Ints, b: Ints, score: Floats, count: Floats, shown: Floats) -> Games:
    """Add up equal games, by one whole number per game."""
    scores, score_code = _codes(score, np.array([0.0, 0.5, 1.0]))
    places, shown_code = _codes(shown, np.array([-1.0, 0.0, 1.0]))
    n = int(max(a.max(), b.max())) + 1
    key = ((a * n + b) * len(scores) + score_code) * len(places) + shown_code
    size = n * n * len(scores) * len(places)
    keys: Ints = np.arange(size, dtype=np.int64)
    if size > _DENSE_KEYS:
        keys, inverse = np.unique(key, return_inverse=True)
        key = inverse.ravel()
    counts: Floats = np.bincount(key, count, len(keys)).astype(np.float64)
    keys, counts = keys[counts > 0], counts[counts > 0]
    rest, shown_code = np.divmod(keys, len(places))
    rest, score_code = np.divmod(rest, len(scores))
    return Games(rest // n, rest % n, scores[score_code], counts, places[shown_code])


def _codes(values: Floats, usual: Floats) -> tuple[Floats, Ints]:
    """Number each value by its place among the usual three, else among those that occur."""
    step = usual[1] - usual[0]
    place = np.rint((values - usual[0]) / step).astype(np.int64)
    if place.min() >= 0 and place.max() < len(usual) and (usual[place] == values).all():
        return usual, place
    found, inverse = np.unique(values, return_inverse=True)
    return found, inverse.ravel().astype(np.int64)


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """Mean-0 log-strengths with their sandwich errors; `first` is the log-odds of being shown first, if fitted.

    `effects` are those of the games' features, log-odds a unit. `covariance` is of the strengths.
    """

    log_strength: Floats
    se: Floats
    covariance: Floats
    first: float | None = None
    first_se: float | None = None
    effects: Floats = field(default_factory=lambda: np.zeros(0))
    effects_se: Floats = field(default_factory=lambda: np.zeros(0))
    n_items: int | None = None  # that the errors are clustered by; None: over games

    def reach(self, *, confidence: float = 0.95) -> float:
        """Say how many standard errors an interval extends to each side."""
        n_fitted = len(self.log_strength) + len(self.effects) + (self.first is not None)
        return sandwich_reach(self.n_items, n_fitted, confidence=confidence)

    def interval(self, player: int, *, confidence: float = 0.95) -> Interval:
        half = self.reach(confidence=confidence) * float(self.se[player])
        return Interval(float(self.log_strength[player]) - half, float(self.log_strength[player]) + half)


def sandwich_reach(n_items: int | None, n_fitted: int, *, confidence: float = 0.95) -> float:
    """Give how many clustered standard errors an interval extends; for errors over games (None) the normal quantile.

    With few items the error is too small by about the share of them that the fit used up: strengths (one less, as their
    mean is 0) and effects.
    """
    if n_items is None:
        return normal_quantile(confidence)
    left = max(n_items - n_fitted + 1, 1)
    return student_quantile(left, confidence) * float(np.sqrt(n_items / left))


def disconnection_reason(games: Games, *, n_players: int) -> str | None:
    """Say why strengths don't exist, or None if they do (everyone reaches everyone by wins; half-wins count)."""
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


def fit_bradley_terry(
    games: Games,
    *,
    n_players: int,
    position: bool = False,
    played: Played | None = None,
    played_features: Floats | None = None,
) -> BradleyTerry:
    """Fit strengths, the effects of the games' features, and with `position` that of being shown first.

    `played` are the same games one by one, with their items (and with the games' features `played_features`): errors
    are then clustered by item. Where all items are alike (ties only, say) there is nothing to tell an error from; then
    it is that of the model with one game an item.
    Raises NotConverged where the win graph is not strongly connected, where an effect runs away (the answer shown first
    always won), or where a covariate never varies independently of who plays.
    """
    if reason := disconnection_reason(games, n_players=n_players):
        raise NotConverged(reason)
    design = Design.of(games, n_players=n_players, position=position)
    if reason := design.untold():
        raise NotConverged(reason)
    theta = _newton(design, games)
    effects = theta[n_players:]
    if len(effects) and np.abs(effects).max() > _MAX_EFFECT:
        what = "being shown first" if position and len(effects) == 1 else "a covariate"
        raise NotConverged(f"the effect of {what} has no finite maximum: it decides too much")
    probability = expit(design.logits(theta))
    bread = design.inverse(design.gram(games.count * probability * (1.0 - probability)))
    if played is None:
        meat = design.gram(games.count * (games.score - probability) ** 2)
        covariance = bread @ meat @ bread
    else:
        covariance = _clustered(design, theta, bread, played, played_features)
    se = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    n_features = games.features.shape[1]
    return BradleyTerry(
        log_strength=theta[:n_players] - theta[:n_players].mean(),
        se=se[:n_players],
        covariance=covariance[:n_players, :n_players],
        first=float(theta[-1]) if position else None,
        first_se=float(se[-1]) if position else None,
        effects=theta[n_players : n_players + n_features],
        effects_se=se[n_players : n_players + n_features],
        n_items=None if played is None else played.n_items,
    )


def _clustered(design: Design, theta: Floats, bread: Floats, played: Played, features: Floats | None) -> Floats:
    """Give the covariance with scores summed within items."""
    one_by_one = Games(played.a, played.b, played.score, np.ones(len(played.a)), played.shown)
    if features is not None:
        one_by_one = replace(one_by_one, features=features)
    rows = Design.of(one_by_one, n_players=design.n_players, position=design.position)
    probability = expit(rows.logits(theta))
    residual = played.score - probability
    meat = played.meat(residual, residual[:, None] * rows.x, n_players=design.n_players)
    covariance: Floats = bread @ meat @ bread
    if np.diag(covariance)[: design.n_players].max() > _NO_SPREAD:
        return covariance
    information = rows.gram(played.weights() * probability * (1.0 - probability))
    inverse = rows.inverse(information)
    return np.asarray(inverse @ information @ inverse)


@dataclass(frozen=True, slots=True)
class Design:
    """A row a game: +1 at `a`, -1 at `b`, then covariates `x` (games, c). Sums over rows without the matrix."""

    a: Ints
    b: Ints
    x: Floats
    n_players: int
    position: bool = False  # the last covariate is that of being shown first

    @staticmethod
    def of(games: Games, *, n_players: int, position: bool) -> Design:
        columns = [games.features] if games.features.size else []
        columns += [games.shown[:, None]] if position else []
        x = np.concatenate(columns, axis=1) if columns else np.zeros((len(games.a), 0))
        return Design(games.a, games.b, x, n_players, position)

    def logits(self, theta: Floats) -> Floats:
        z: Floats = theta[self.a] - theta[self.b]
        return z + self.x @ theta[self.n_players :] if self.x.shape[1] else z

    def sums(self, weight: Floats) -> Floats:
        """Give the sum over games of weight times row."""
        n = self.n_players
        players = np.bincount(self.a, weight, n) - np.bincount(self.b, weight, n)
        return np.concatenate([players, weight @ self.x])

    def gram(self, weight: Floats) -> Floats:
        """Give the sum over games of weight times row times row transposed."""
        n, c = self.n_players, self.x.shape[1]
        met = np.bincount(self.a * n + self.b, weight, n * n).reshape(n, n)
        met = met + met.T
        out = np.zeros((n + c, n + c))
        out[:n, :n] = np.diag(met.sum(axis=1)) - met
        for k in range(c):
            weighted = weight * self.x[:, k]
            cross = np.bincount(self.a, weighted, n) - np.bincount(self.b, weighted, n)
            out[:n, n + k] = out[n + k, :n] = cross
            out[n + k, n:] = weighted @ self.x
        return out

    def bordered(self, gram: Floats) -> Floats:
        """Fill the one direction that games do not determine (all strengths together), so that the system can be
        solved.
        """
        n = self.n_players
        filled = gram.copy()
        filled[:n, :n] += max(float(np.trace(gram[:n, :n])) / n, 1e-300) / n
        return filled

    def inverse(self, gram: Floats) -> Floats:
        """Invert with that direction filled; rows are orthogonal to it, so that a sandwich is as with H+."""
        return np.asarray(np.linalg.inv(self.bordered(gram)))

    def untold(self) -> str | None:
        """Say which covariate can't be separated from who played, or None."""
        n, c = self.n_players, self.x.shape[1]
        if not c:
            return None
        gram = self.bordered(self.gram(np.ones(len(self.a))))
        own = np.sqrt(np.diag(gram)[n:])
        left = gram[n:, n:] - gram[n:, :n] @ np.linalg.solve(gram[:n, :n], gram[:n, n:])
        if (own == 0).any() or np.linalg.eigvalsh(left / np.outer(own, own))[0] < _UNTOLD:
            what = "the order shown" if self.position and c == 1 else "a covariate"
            return f"{what} can't be told from who played"
        return None


def _log_likelihood(z: Floats, games: Games) -> float:
    return float((games.count * (games.score * z - np.logaddexp(0.0, z))).sum())


def _newton(design: Design, games: Games) -> Floats:
    theta = np.zeros(design.n_players + design.x.shape[1])
    total = games.count.sum()
    logits = design.logits(theta)
    value = _log_likelihood(logits, games)
    for _ in range(_MAX_STEPS):
        probability = expit(logits)
        gradient = design.sums(games.count * (games.score - probability))
        if np.abs(gradient).max() <= _TOLERANCE * total:
            return theta
        information = design.gram(games.count * probability * (1.0 - probability))
        try:
            step = np.linalg.solve(design.bordered(information), gradient)
        except np.linalg.LinAlgError:
            break
        scale = 1.0
        while True:
            logits = design.logits(theta + scale * step)
            tried = _log_likelihood(logits, games)
            if tried >= value - 1e-12 * abs(value) or scale <= 1e-10:
                break
            scale /= 2.0
        theta = theta + scale * step
        value = tried
    raise NotConverged(f"the Bradley–Terry fit did not converge in {_MAX_STEPS} steps")
