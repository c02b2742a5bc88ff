"""Sums per item for several figures at once, and the intervals of those figures over items.

Every figure of a judge is a function of sums over items (its confusion's cells, how often it took the first slot, …).
A share's interval comes from the items' own spread. Kappa's error comes from a bootstrap: items that look the same in
everything collected are drawn together, and one set of resamples serves all. Only whole numbers are summed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefloop.stats import agreement
from prefloop.stats.intervals import (
    ItemStatistics,
    bootstrap_sums,
    distinct,
    lean_interval,
    share_interval,
)
from prefloop.types import Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class ItemSums:
    """`add` columns, then ask for intervals; the bootstrap (of kappa) is run once, when first needed.

    `counts` says how many items are like each of the `n_items` given; default one each.
    """

    def __init__(self, n_items: int, *, counts: Ints | None = None, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.n_items, self.counts, self.n_bootstrap, self.seed = n_items, counts, n_bootstrap, seed
        self._columns: list[Ints] = []
        self._place: dict[str, slice] = {}
        self._drawn: Floats | None = None

    def add(self, name: str, item: ArrayLike, *, cell: ArrayLike | None = None, n_cells: int = 1) -> None:
        """Count rows per item; with `cell` (codes below `n_cells`) separately for each cell."""
        i = np.asarray(item, dtype=np.int64)
        key = i if cell is None else np.asarray(cell, dtype=np.int64) * self.n_items + i
        counts = np.bincount(key, minlength=n_cells * self.n_items).reshape(n_cells, self.n_items)
        self.add_sums(name, counts)

    def add_sums(self, name: str, sums: ArrayLike) -> None:
        """Take sums per item as given: (n_items,) or (n_cells, n_items)."""
        rows = np.atleast_2d(np.asarray(sums, dtype=np.int64))
        start = len(self._columns)
        self._columns += list(rows)
        self._place[name] = slice(start, len(self._columns))

    def total(self, name: str) -> Ints:
        columns = self._columns[self._place[name]]
        return np.array([self._n(column) for column in columns], dtype=np.int64)

    def n_with(self, name: str) -> int:
        """Count the items that add something to `name`."""
        touched = np.zeros(self.n_items, dtype=bool)
        for column in self._columns[self._place[name]]:
            touched |= column > 0
        return self._n(touched.astype(np.int64))

    def drawn(self, name: str) -> Floats:
        """Give the sums of `name` over each resample: (n_bootstrap, n_cells)."""
        if self._drawn is None:
            self._drawn = bootstrap_sums(self._lumped(), n_bootstrap=self.n_bootstrap, seed=self.seed)
        return self._drawn[:, self._place[name]]

    def share(self, hit: str, of: str) -> list[float] | None:
        """Give the interval of hits among rows. None with fewer than two items that have rows."""
        return _ends(share_interval(self._sum(hit), self._sum(of), counts=self.counts))

    def agreement(self, cells: str, *, k: int, first: int | None = None) -> list[float] | None:
        """Give the interval of the share on the diagonal of `cells` (k² of them), of its `first` categories only."""
        return _ends(self._agreement(cells, k, first))

    def kappa(self, cells: str, *, k: int) -> list[float] | None:
        """Give the interval of Cohen's kappa of `cells`, k² of them. None with fewer than two items, or undefined."""
        n_items = self.n_with(cells)
        if self.n_bootstrap < 1 or n_items < 2:
            return None
        drawn = agreement.kappas(self.drawn(cells).reshape(-1, k, k))
        drawn = drawn[np.isfinite(drawn)]
        raw = self._agreement(cells, k, None)
        if raw is None or 2 * len(drawn) < self.n_bootstrap:
            return None
        variance = float(drawn.var()) * n_items / (n_items - 1)  # resampled items spread less than items do
        table = self.total(cells).reshape(k, k)
        return _ends(agreement.kappa_interval(table, variance, raw=raw, n_items=n_items))

    def difference(self, more: str, less: str, of: str) -> list[float] | None:
        """Give the interval of (more - less) / of, in [-1, 1]. None with fewer than two items that have rows."""
        return _ends(lean_interval(self._sum(more) - self._sum(less), self._sum(of), counts=self.counts))

    def _agreement(self, cells: str, k: int, first: int | None) -> Interval | None:
        table = np.stack(self._columns[self._place[cells]]).reshape(k, k, self.n_items)[:first, :first]
        return share_interval(np.trace(table), table.sum(axis=(0, 1)), counts=self.counts)

    def _sum(self, name: str) -> Ints:
        return np.asarray(np.sum(self._columns[self._place[name]], axis=0, dtype=np.int64))

    def _n(self, column: Ints) -> int:
        return int(column.sum() if self.counts is None else column @ self.counts)

    def _lumped(self) -> ItemStatistics:
        first, counts = distinct(self._columns, self.counts)
        rows = np.stack([column[first] for column in self._columns], axis=1).astype(np.float64)
        speaks = np.any(rows > 0, axis=1)  # an item that says nothing of anything is not of the sample
        return ItemStatistics(rows[speaks], counts[speaks])


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
