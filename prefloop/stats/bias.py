"""What a judge leans on besides the answer: the place, the length, the order. Counts on integer-coded columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FIRST, SECOND = 0, 1  # outcome codes of a decisive verdict, in the order of prefloop.types.OUTCOMES


@dataclass(frozen=True, slots=True)
class Share:
    """k of n, and the share; None where n is 0."""

    n: int
    k: int

    @property
    def rate(self) -> float | None:
        return self.k / self.n if self.n else None


def first_slot(outcome: ArrayLike, swapped: ArrayLike) -> Share:
    """Count decisive verdicts for the answer shown first. `swapped` is true where the canonical second was."""
    o, s = np.asarray(outcome), np.asarray(swapped, dtype=bool)
    decisive = (o == FIRST) | (o == SECOND)
    return Share(int(decisive.sum()), int((decisive & ((o == SECOND) == s)).sum()))


def longer_preferred(outcome: ArrayLike, length_first: ArrayLike, length_second: ArrayLike) -> Share:
    """Count decisive verdicts for the longer answer, where lengths differ."""
    o, a, b = np.asarray(outcome), np.asarray(length_first), np.asarray(length_second)
    counted = ((o == FIRST) | (o == SECOND)) & (a != b)
    return Share(int(counted.sum()), int((counted & ((o == FIRST) == (a > b))).sum()))


def order_consistency(natural: ArrayLike, swapped: ArrayLike) -> Share:
    """Count items whose outcome is the same in both orders, of those parsed in both (negative code: not parsed)."""
    x, y = np.asarray(natural), np.asarray(swapped)
    both = (x >= 0) & (y >= 0)
    return Share(int(both.sum()), int((both & (x == y)).sum()))
