"""Elo ratings, averaged over random orders of the games, so that the order of play doesn't matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

K_FACTOR = 4.0
START = 1000.0
SCALE = 400.0
N_ORDERS = 10_000
_UPDATES = 20_000_000  # rating updates that a report may spend: a second or two
_BATCH_CELLS = 20_000_000  # order entries held at once: 80 MB


@dataclass(frozen=True, slots=True)
class Elo:
    ratings: Floats  # (n_players,)
    n_orders: int


def orders_for(n_games: int) -> int:
    """Say how many orders to average over: 10,000, fewer if there are so many games that it would take long."""
    return max(1, min(N_ORDERS, _UPDATES // max(n_games, 1)))


def mean_elo(
    a: ArrayLike,
    b: ArrayLike,
    score: ArrayLike,
    *,
    n_players: int,
    n_orders: int | None = None,
    seed: int = 0,
) -> Elo:
    """Average final ratings over random orders, all of which advance together. `score` is a's: 1, ½ or 0."""
    a_, b_ = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    s = np.asarray(score, dtype=np.float64)
    if not len(a_) == len(b_) == len(s):
        raise ValueError("games need columns of one length")
    n = len(a_)
    orders = orders_for(n) if n_orders is None else n_orders
    if orders < 1:
        raise ValueError("at least one order")
    rng = np.random.default_rng(seed)
    total = np.zeros(n_players)
    done = 0
    step = max(1, min(orders, _BATCH_CELLS // max(n, 1)))
    while done < orders:
        size = min(step, orders - done)
        total += _play(
            a_, b_, s, n_players, rng.permuted(np.tile(np.arange(n, dtype=np.int32), (size, 1)), axis=1)
        ).sum(axis=0)
        done += size
    return Elo(total / orders, orders)


def _play(a: NDArray[np.int64], b: NDArray[np.int64], s: Floats, n_players: int, orders: NDArray[np.int32]) -> Floats:
    size = len(orders)
    ratings = np.full(size * n_players, START)
    offset = np.arange(size) * n_players
    by_step = np.ascontiguousarray(orders.T)
    for games in by_step:
        i, j = offset + a[games], offset + b[games]
        expected = 1.0 / (1.0 + 10.0 ** ((ratings[j] - ratings[i]) / SCALE))
        change = K_FACTOR * (s[games] - expected)
        ratings[i] += change
        ratings[j] -= change
    return ratings.reshape(size, n_players)
