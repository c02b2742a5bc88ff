"""Two versions of a judge on the same comparisons: each one's agreement, and the difference with its interval.

The unit is the prompt: its comparisons, and the verdicts on them in both orders, are correlated. The interval of the
difference is a paired bootstrap over prompts, widened for few of them (Hesterberg 2015, as `intervals.expanded`). Where
every prompt has the same difference (mostly none) there is nothing to resample: then each prompt is one trial in which
nothing else was seen, and Wilson's bound says how often it may happen all the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.intervals import bootstrap_interval, expanded, share_interval, student_quantile, wilson_interval
from prefloop.types import Interval

Floats = NDArray[np.float64]

_NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Paired:
    """`before`, `after`: the shares of one version and of the other, over the same comparisons.

    Intervals are None with fewer than two prompts.
    """

    before: float
    after: float
    before_ci95: Interval | None
    after_ci95: Interval | None
    difference_ci95: Interval | None
    n: int
    n_prompts: int

    @property
    def difference(self) -> float:
        return self.after - self.before


def paired_shares(
    rows: Iterable[tuple[Hashable, float, float]], *, n_bootstrap: int = 10_000, seed: int = 0
) -> Paired | None:
    """Compare hits (0 to 1) of two versions; each row is a comparison: its prompt, the one's hit, the other's.

    None without rows.
    """
    sums: dict[Hashable, list[float]] = {}
    for prompt, before, after in rows:
        of = sums.setdefault(prompt, [0.0, 0.0, 0.0])
        of[0] += before
        of[1] += after
        of[2] += 1
    if not sums:
        return None
    table = np.array(list(sums.values()), dtype=np.float64)
    before_, after_, n = table[:, 0], table[:, 1], table[:, 2]
    n_prompts = len(table)
    return Paired(
        before=float(before_.sum() / n.sum()),
        after=float(after_.sum() / n.sum()),
        before_ci95=share_interval(before_, n),
        after_ci95=share_interval(after_, n),
        difference_ci95=_difference(table, n_bootstrap, seed) if n_prompts > 1 else None,
        n=int(n.sum()),
        n_prompts=n_prompts,
    )


def _difference(table: Floats, n_bootstrap: int, seed: int) -> Interval | None:
    n_prompts = len(table)
    each = (table[:, 1] - table[:, 0]) / table[:, 2]
    if np.ptp(each) < _NO_SPREAD:
        unseen = wilson_interval(0, n_prompts)
        room = unseen.high if unseen is not None else 1.0
        return Interval(max(-1.0, float(each[0]) - room), min(1.0, float(each[0]) + room))
    # a bootstrap divides by n where the variance of a mean divides by n - 1
    reach = student_quantile(n_prompts - 1) * (n_prompts / (n_prompts - 1)) ** 0.5
    return bootstrap_interval(
        table,
        lambda s: (s[:, 1] - s[:, 0]) / s[:, 2],
        n_bootstrap=n_bootstrap,
        seed=seed,
        confidence=expanded(0.95, reach=reach),
    )
