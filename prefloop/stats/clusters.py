"""Games one by one with the item that each belongs to, for standard errors clustered by item.

The verdicts on one comparison (both orders, all samples, all judges, people too) are correlated, so the score of a fit
is summed within an item before it is squared (Liang and Zeger 1986). Two verdicts that always agree then count as one,
and so do six.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from prefloop.stats.intervals import score_interval
from prefloop.types import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Played:
    """A row per game, as in `bradley_terry.Games` before equal games are added up; `item` codes from 0."""

    item: Ints
    a: Ints
    b: Ints
    score: Floats
    shown: Floats
    first: Ints  # (items,) the place of one game of each item
    n_of_item: Ints  # (items,) its games
    same_pair: bool  # whether all games of an item are between the same two players

    @staticmethod
    def of(item: ArrayLike, a: ArrayLike, b: ArrayLike, score: ArrayLike, shown: ArrayLike | None = None) -> Played:
        """Code the items; columns of one length."""
        a_, b_ = np.asarray(a, dtype=np.int64).ravel(), np.asarray(b, dtype=np.int64).ravel()
        s: Floats = np.asarray(score, dtype=np.float64).ravel()
        places = np.asarray(item, dtype=np.int64).ravel()
        n = len(places)
        if not n == len(a_) == len(b_) == len(s):
            raise ValueError("games need columns of one length")
        if n and (places.min() < 0 or places.max() > 4 * n + 1000):
            _, places = np.unique(places, return_inverse=True)
            places = places.ravel().astype(np.int64)
        counts = np.bincount(places, minlength=1 if n else 0).astype(np.int64)
        code = np.cumsum(counts > 0) - 1  # items that nobody played get no code
        places, counts = code[places], counts[counts > 0]
        first = np.zeros(len(counts), dtype=np.int64)
        first[places[::-1]] = np.arange(n - 1, -1, -1)  # the first game of an item is written last
        low, high = np.minimum(a_, b_), np.maximum(a_, b_)
        owner = first[places]
        same = bool((low == low[owner]).all() and (high == high[owner]).all())
        f: Floats = np.zeros(n) if shown is None else np.asarray(shown, dtype=np.float64).ravel()
        return Played(places, a_, b_, s, f, first, counts, same)

    @property
    def n_items(self) -> int:
        return len(self.n_of_item)

    def weights(self) -> Floats:
        """Give each game its share of its item: the weights of an item sum to 1."""
        return np.asarray(1.0 / self.n_of_item[self.item])

    def meat(self, d: Floats, t: Floats, *, n_players: int) -> Floats:
        """Give Σ u uᵀ over items, u the item's sum of d (e_a - e_b) over the players, then t (games, c)."""
        n, c = n_players, t.shape[1]
        if not self.same_pair:
            owner = np.concatenate([self.item, self.item, np.tile(self.item, c)])
            column = np.concatenate([self.a, self.b, np.repeat(np.arange(n, n + c), len(d))])
            scores = csr_array((np.concatenate([d, -d, t.T.ravel()]), (owner, column)), shape=(self.n_items, n + c))
            return np.asarray((scores.T @ scores).toarray())
        a, b = self.a[self.first], self.b[self.first]
        turned = np.where(self.a == a[self.item], d, -d)
        u = np.bincount(self.item, turned, self.n_items)
        extra: Floats = np.zeros((c, self.n_items))
        for k in range(c):
            extra[k] = np.bincount(self.item, t[:, k], self.n_items)
        met = np.bincount(a * n + b, u**2, n * n).reshape(n, n)
        met = met + met.T
        out = np.zeros((n + c, n + c))
        out[:n, :n] = np.diag(met.sum(axis=1)) - met
        for k in range(c):
            cross = u * extra[k]
            out[:n, n + k] = out[n + k, :n] = np.bincount(a, cross, n) - np.bincount(b, cross, n)
            out[n + k, n:] = extra @ extra[k]
        return out

    def win_rates(self, *, n_players: int) -> list[Interval | None]:
        """Give the interval of each player's win rate, over the items it played; None for one that played none."""
        if self.same_pair:
            a, b, n = self.a[self.first], self.b[self.first], self.n_of_item.astype(np.float64)
            won = np.bincount(self.item, np.where(self.a == a[self.item], self.score, 1 - self.score), self.n_items)
            player, hits, rows = np.concatenate([a, b]), np.concatenate([won, n - won]), np.concatenate([n, n])
        else:
            both = np.concatenate([self.a, self.b]) * self.n_items + np.tile(self.item, 2)
            keys, cell = np.unique(both, return_inverse=True)
            player, rows = keys // self.n_items, np.bincount(cell.ravel()).astype(np.float64)
            hits = np.bincount(cell.ravel(), np.concatenate([self.score, 1 - self.score]))
        items = np.bincount(player, minlength=n_players)
        total = np.bincount(player, rows, n_players)
        share = np.divide(np.bincount(player, hits, n_players), total, out=np.zeros(n_players), where=total > 0)
        square = np.bincount(player, (hits - share[player] * rows) ** 2, n_players)
        out: list[Interval | None] = []
        for at in range(n_players):
            m = int(items[at])
            variance = m / max(m - 1, 1) * square[at] / max(total[at], 1.0) ** 2
            out.append(score_interval(float(share[at]), float(variance), n_items=m) if m else None)
        return out
