"""Sums an item for several figures at once, and one bootstrap over items for all of them.

Every figure of a judge is a function of sums over items (its confusion's cells, how often it took the first slot, …).
Collected side by side, items that look the same in all of them are drawn together, and one set of resamples serves
every figure. Only whole numbers are summed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefloop.stats.intervals import ItemStatistics, bootstrap_sums, distinct, percentile_interval, ratio

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class ItemSums:
    """`add` columns, then ask for intervals; the bootstrap is made once, when first needed.

    `counts` says how many items look like each of the `n_items` given; default one each.
    """

    def __init__(self, n_items: int, *, counts: Ints | None = None, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.n_items, self.counts, self.n_bootstrap, self.seed = n_items, counts, n_bootstrap, seed
        self._columns: list[Ints] = []
        self._place: dict[str, slice] = {}
        self._drawn: Floats | None = None

    def add(self, name: str, item: ArrayLike, *, cell: ArrayLike | None = None, n_cells: int = 1) -> None:
        """Count rows an item; with `cell` (codes below `n_cells`) an item's rows in each cell apart."""
        i = np.asarray(item, dtype=np.int64)
        key = i if cell is None else np.asarray(cell, dtype=np.int64) * self.n_items + i
        counts = np.bincount(key, minlength=n_cells * self.n_items).reshape(n_cells, self.n_items)
        self.add_sums(name, counts)

    def add_sums(self, name: str, sums: ArrayLike) -> None:
        """Take sums an item as they are: (n_items,) or (n_cells, n_items)."""
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

    def interval(self, names: tuple[str, ...], figure: Callable[..., Floats]) -> list[float] | None:
        """Bootstrap a figure of these sums. None with fewer than two items in the first of them, or where undefined."""
        if self.n_bootstrap < 1 or self.n_with(names[0]) < 2:
            return None
        ends = percentile_interval(figure(*(self.drawn(name) for name in names)))
        return None if ends is None else [ends.low, ends.high]

    def share(self, hit: str, of: str) -> list[float] | None:
        return self.interval((of, hit), lambda n, k: ratio(np.concatenate([k, n], axis=1)))

    def _n(self, column: Ints) -> int:
        return int(column.sum() if self.counts is None else column @ self.counts)

    def _lumped(self) -> ItemStatistics:
        first, counts = distinct(self._columns, self.counts)
        rows = np.stack([column[first] for column in self._columns], axis=1).astype(np.float64)
        speaks = np.any(rows > 0, axis=1)  # an item that says nothing of anything is not of the sample
        return ItemStatistics(rows[speaks], counts[speaks])
