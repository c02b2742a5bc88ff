"""Each model's win rate from people's votes, from a judge's verdicts, and from both (prediction-powered inference).

The unit is the comparison: people's score of it is the mean of their votes, the judge's the mean over its readable
verdicts (both orders, all samples), ties and both bad half. A model's rate is over the comparisons it was in.

Both together are valid only if the comparisons that people voted on are like the others. `votes_in_order` says that
they are not a random share but come at one end of all comparisons in the order of creation (a rank-sum test).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.games import HUMAN, GameColumns
from prefloop.stats.ppi import Rate, WinRates, win_rates

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Report = dict[str, Any]

HALF_WIDTH = 0.03
_FAR = 4.0  # standard deviations of a rank sum


def win_rates_report(columns: GameColumns, *, judge: int, name: str, half_width: float = HALF_WIDTH) -> Report:
    """Build the section: `judge` is a source's code, `half_width` the ± for which the number of additional labels is
    computed.
    """
    used = columns.where(columns.usable & ((columns.source == judge) | (columns.source == HUMAN)))
    # items are places: they are counted rather than sorted
    n_places = int(used.item.max(initial=-1)) + 1
    first = np.empty(n_places, dtype=np.int64)
    first[used.item[::-1]] = np.arange(len(used.item) - 1, -1, -1)  # the first game of an item is written last
    items = np.flatnonzero(np.bincount(used.item, minlength=n_places))
    people = _means(used.item, used.score, used.source == HUMAN, n_places)[items]
    machine = _means(used.item, used.score, used.source == judge, n_places)[items]
    a, b = used.a[first[items]], used.b[first[items]]
    models = []
    for code, model in enumerate(used.models):
        as_a, as_b = a == code, b == code
        found = win_rates(
            np.concatenate([people[as_a], 1 - people[as_b]]), np.concatenate([machine[as_a], 1 - machine[as_b]])
        )
        models.append({"name": model, **_json(found, half_width)})
    return {
        "judge": name,
        "half_width": half_width,
        "n_comparisons": len(items),
        "votes_in_order": _at_one_end(np.isfinite(people) & np.isfinite(machine)),
        "models": models,
    }


def _at_one_end(voted: NDArray[np.bool_]) -> bool:
    """Say whether the marked places are at one end, more than a random share would be."""
    n, k = len(voted), int(voted.sum())
    if not 0 < k < n:
        return False
    mean, variance = k * (n - 1) / 2, k * (n - k) * (n + 1) / 12
    return bool(abs(float(np.flatnonzero(voted).sum()) - mean) > _FAR * variance**0.5)


def _means(place: Ints, score: Floats, rows: NDArray[np.bool_], n_items: int) -> Floats:
    n = np.bincount(place[rows], minlength=n_items)
    total = np.bincount(place[rows], score[rows], n_items)
    return np.asarray(np.divide(total, n, out=np.full(n_items, np.nan), where=n > 0))


def _json(found: WinRates, half_width: float) -> Report:
    return {
        "human": _rate(found.human),
        "judge": _rate(found.judge),
        "both": _rate(found.both),
        "lambda": found.lam,
        "correlation": found.correlation,
        "more_labels": found.more_labels(half_width),
        "n_comparisons": found.n_comparisons,
    }


def _rate(rate: Rate) -> Report:
    ends = rate.interval
    return {"n": rate.n, "rate": rate.rate, "ci95": None if ends is None else [ends.low, ends.high]}
