"""How often a judge prefers the answer that is shown first, counted on integer-coded columns."""

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
    """Count decisive verdicts for the answer shown first. `swapped` is true if the canonical second was."""
    o, s = np.asarray(outcome), np.asarray(swapped, dtype=bool)
    decisive = (o == FIRST) | (o == SECOND)
    return Share(int(decisive.sum()), int((decisive & ((o == SECOND) == s)).sum()))
