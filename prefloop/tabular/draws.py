"""Expectations over groups of drawn answers: exact where they can be enumerated, else Monte Carlo.

A kernel turns one group (the outcomes drawn, a tuple for each source) into an array, by the real filters and pairings.
Draws are independent, so a group's probability depends only on how often each outcome came: multisets are enumerated,
weighted by their multinomial probability. What the kernel gives does not depend on the laws, so it is computed once,
however often the laws move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import gammaln, xlogy

Floats = NDArray[np.float64]
Drawn = tuple[tuple[int, ...], ...]  # for each source the outcomes drawn from it, in ascending order
Kernel = Callable[[Drawn], Floats]

MOST_GROUPS = 100_000
MONTE_CARLO_GROUPS = 2_500


def n_groups(m: int, sizes: Sequence[int]) -> int:
    """How many groups there are of so many draws from each source over m outcomes, order aside."""
    return math.prod(math.comb(n + m - 1, n) for n in sizes)


class Expectation:
    """The mean of a kernel over groups of `sizes[k]` draws from the k-th law.

    `exact` says whether all groups are enumerated. Otherwise each `mean` draws groups anew, from its own generator, so
    that runs with other seeds differ by the error that they have.
    """

    def __init__(self, m: int, sizes: Sequence[int], kernel: Kernel, shape: tuple[int, ...], *, seed: int = 0) -> None:
        self.exact = n_groups(m, sizes) <= MOST_GROUPS
        self._m, self._sizes, self._kernel, self._shape = m, tuple(sizes), kernel, shape
        self._rng = np.random.default_rng(seed)
        self._seen: dict[Drawn, Floats] = {}
        self._table: tuple[Floats, Floats, csr_array] | None = None

    def mean(self, laws: Sequence[Floats]) -> Floats:
        """Give the kernel's mean, of the kernel's shape, under the laws (m,), one for each source."""
        return self._enumerate(laws) if self.exact else self._sample(laws)

    def _enumerate(self, laws: Sequence[Floats]) -> Floats:
        if self._table is None:
            groups = list(_groups(self._m, self._sizes))
            counts = np.array([np.concatenate([np.bincount(part, minlength=self._m) for part in g]) for g in groups])
            ways = sum(gammaln(n + 1) for n in self._sizes) - gammaln(counts + 1.0).sum(axis=1)
            self._table = counts, ways, self._values(groups)
        counts, ways, values = self._table
        probability = np.exp(ways + xlogy(counts, np.concatenate(laws)).sum(axis=1))
        return np.asarray(probability @ values).reshape(self._shape)

    def _values(self, groups: Sequence[Drawn]) -> csr_array:
        """The kernel of every group, a sparse row each: a group has few outcomes and makes few pairs."""
        columns, entries, ends = [], [], [0]
        for group in groups:
            flat = self._kernel(group).ravel()
            filled = np.flatnonzero(flat)
            columns.append(filled)
            entries.append(flat[filled])
            ends.append(ends[-1] + len(filled))
        shape = (len(groups), math.prod(self._shape))
        return csr_array((np.concatenate(entries), np.concatenate(columns), np.array(ends)), shape=shape)

    def _sample(self, laws: Sequence[Floats]) -> Floats:
        drawn = [
            np.sort(self._rng.choice(self._m, size=(MONTE_CARLO_GROUPS, n), p=law), axis=1)
            for n, law in zip(self._sizes, laws, strict=True)
        ]
        total = np.zeros(self._shape)
        for row in range(MONTE_CARLO_GROUPS):
            group = tuple(tuple(part[row].tolist()) for part in drawn)
            if group not in self._seen:
                self._seen[group] = self._kernel(group)
            total += self._seen[group]
        return total / MONTE_CARLO_GROUPS


def _groups(m: int, sizes: Sequence[int]) -> Iterator[Drawn]:
    return product(*(combinations_with_replacement(range(m), n) for n in sizes))


def all_groups(law: Floats, n: int, *, seed: int) -> tuple[NDArray[np.int64], Floats, bool]:
    """Give groups of n draws (G, n), the probability of each (G,), and whether these are all groups."""
    m = len(law)
    if n_groups(m, (n,)) > MOST_GROUPS:
        drawn = np.random.default_rng(seed).choice(m, size=(MONTE_CARLO_GROUPS, n), p=law)
        return drawn.astype(np.int64), np.full(MONTE_CARLO_GROUPS, 1 / MONTE_CARLO_GROUPS), False
    groups = np.array(list(combinations_with_replacement(range(m), n)), dtype=np.int64)
    counts = np.stack([(groups == outcome).sum(axis=1) for outcome in range(m)], axis=1)
    ways = gammaln(n + 1) - gammaln(counts + 1.0).sum(axis=1)
    return groups, np.exp(ways + xlogy(counts, law).sum(axis=1)), True
