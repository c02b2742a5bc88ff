"""Bootstrap of Bradley–Terry strengths over items: a thousand refits at the cost of a few.

A resample draws items (comparisons) with replacement and keeps an item's games together. A fit only needs how often
each two players met and what they won: one sparse product of item weights. Items with the same games are drawn
together. Each resample's maximum is then found from the full fit's by Newton steps with the full fit's information (the
resample's own differs little), all resamples of a chunk at once; those that have not converged after a few steps are
fitted separately, and are NaN if their strengths don't exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from prefloop.stats.bradley_terry import Design, Games, NotConverged, fit_bradley_terry, sandwich_reach
from prefloop.stats.intervals import expanded, lump, percentile_interval
from prefloop.types import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TOLERANCE = 1e-10  # of the gradient, in wins a game
_STEPS = 40
_FAR = 12.0  # a strength beyond this may be on its way to infinity: such a resample is looked at by itself
_CHUNK_CELLS = 150_000  # met pairs held at once: what a core's cache holds


@dataclass(frozen=True, slots=True)
class _Items:
    """Distinct items: how many items are equal (m,), and what each adds to met and won (2 p, m) of the met pairs."""

    counts: Ints
    cells: csr_array
    low: Ints  # (p,) the pair's first player
    high: Ints


def bootstrap_strengths(
    item: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    score: ArrayLike,
    *,
    n_players: int,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Floats:
    """Give mean-0 log-strengths (n_bootstrap, n_players) of resamples of the items; NaN rows if they don't exist.

    One row per game: the item it belongs to, the players, and a's score. Raises NotConverged if the original games have
    no strengths.
    """
    i, a_, b_ = (np.asarray(c, dtype=np.int64).ravel() for c in (item, a, b))
    s: Floats = np.asarray(score, dtype=np.float64).ravel()
    if len(i) != len(a_):
        raise ValueError("games need columns of one length")
    full = fit_bradley_terry(Games.of(a_, b_, s), n_players=n_players).log_strength
    items = _items(i, a_, b_, s, n_players)
    inverse = _inverse_information(items, full, n_players)
    out = np.empty((n_bootstrap, n_players))
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // (n_players * n_players))
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        met, won = _resample(items, rng, size)
        out[start : start + size] = _refit(items, met, won, full, inverse, n_players)
    return out


def strength_intervals(
    strengths: Floats, *, n_items: int | None = None, confidence: float = 0.95
) -> list[Interval | None]:
    """Give each player's percentile interval, widened for few items (`n_items`) as in `expanded`.

    None if fewer than half of the resamples have strengths.
    """
    if n_items is not None:
        confidence = expanded(confidence, reach=sandwich_reach(n_items, strengths.shape[1], confidence=confidence))
    return [percentile_interval(column, confidence=confidence) for column in strengths.T]


def _items(item: Ints, a: Ints, b: Ints, score: Floats, n_players: int) -> _Items:
    low, high = np.minimum(a, b), np.maximum(a, b)
    won_by_low = np.where(a < b, score, 1.0 - score)
    pair_keys, pair = np.unique(low * n_players + high, return_inverse=True)
    item_keys, place = np.unique(item, return_inverse=True)
    p, m = len(pair_keys), len(item_keys)
    cell_keys, cell = np.unique(place * p + pair, return_inverse=True)
    met: Floats = np.bincount(cell).astype(np.float64)
    won: Floats = np.bincount(cell, won_by_low).astype(np.float64)
    cell_item, cell_pair = cell_keys // p, cell_keys % p
    counts = np.ones(m, dtype=np.int64)
    halves = np.rint(2 * won)
    if len(cell_keys) == m and (halves == 2 * won).all():  # one pair an item, as comparisons have
        kinds = lump(np.stack([cell_pair, met.astype(np.int64), halves.astype(np.int64)], axis=1))
        counts, m = kinds.counts, len(kinds.counts)
        cell_item, cell_pair = np.arange(m, dtype=np.int64), kinds.rows[:, 0].astype(np.int64)
        met, won = kinds.rows[:, 1], kinds.rows[:, 2] / 2
    cells = csr_array(
        (np.concatenate([met, won]), (np.concatenate([cell_pair, cell_pair + p]), np.tile(cell_item, 2))),
        shape=(2 * p, m),
    )
    return _Items(counts.astype(np.int64), cells, pair_keys // n_players, pair_keys % n_players)


def _resample(items: _Items, rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Give how often each met pair met and what its first player won, in `size` resamples."""
    n, m = int(items.counts.sum()), len(items.counts)
    p = len(items.low)
    sums = np.empty((size, 2 * p))
    few = 8 * m < n  # then a multinomial over the distinct ones is cheaper than drawing every item
    owner = None if few else np.repeat(np.arange(m), items.counts)
    for row in range(size):
        if owner is None:
            weight = rng.multinomial(n, items.counts / n)
        else:
            drawn = rng.integers(0, n, n, dtype=np.int64)
            weight = np.bincount(drawn if m == n else owner[drawn], minlength=m)
        sums[row] = items.cells @ weight.astype(np.float64)
    return sums[:, :p], sums[:, p:]


def _inverse_information(items: _Items, theta: Floats, n_players: int) -> Floats:
    p = len(items.low)
    met = (items.cells @ items.counts.astype(np.float64))[:p]
    probability = 1.0 / (1.0 + np.exp(theta[items.high] - theta[items.low]))
    design = Design(items.low, items.high, np.zeros((p, 0)), n_players)
    return design.inverse(design.gram(met * probability * (1.0 - probability)))


def _refit(items: _Items, met: Floats, won: Floats, start: Floats, inverse: Floats, n_players: int) -> Floats:
    size, n = len(met), n_players
    table = np.zeros((size, n, n))  # how often two players met, symmetric
    table[:, items.low, items.high] = met
    table[:, items.high, items.low] = met
    wins = np.zeros((size, n, n))
    wins[:, items.low, items.high] = won
    wins[:, items.high, items.low] = met - won
    total_wins, games = wins.sum(axis=2), table.sum(axis=(1, 2)) / 2.0
    theta = np.tile(start, (size, 1))
    arrived = np.zeros(size, dtype=bool)
    shares = np.empty_like(table)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            e = np.exp(theta)
            np.add(e[:, :, None], e[:, None, :], out=shares)
            np.divide(table, shares, out=shares)
            expected = e * shares.sum(axis=2)
            gradient = total_wins - expected
            arrived = np.abs(gradient).max(axis=1) <= _TOLERANCE * games
            if arrived.all():
                break
            theta = np.where(arrived[:, None], theta, theta + gradient @ inverse)
    arrived &= np.abs(theta).max(axis=1) < _FAR
    for row in np.flatnonzero(~arrived):
        theta[row] = _alone(items, met[row], won[row], n_players)
    return np.asarray(theta - theta.mean(axis=1, keepdims=True))


def _alone(items: _Items, met: Floats, won: Floats, n_players: int) -> Floats:
    played = met > 0
    low, high = items.low[played], items.high[played]
    try:
        games = Games.of(
            np.tile(low, 2),
            np.tile(high, 2),
            np.repeat([1.0, 0.0], len(low)),
            count=np.concatenate([won[played], (met - won)[played]]),
        )
        return fit_bradley_terry(games, n_players=n_players).log_strength
    except NotConverged:
        return np.full(n_players, np.nan)
