"""A simulated crew of thirty who compare answers whose better one is known: careful, and in known ways not careful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.agreement import MISSING
from prefloop.stats.annotators import CrewColumns

# Of each kind so many: who is careful, who is careful and works fast, and who should be found.
CREW = {"careful": 16, "brisk": 3, "hurried": 3, "one-sided": 3, "copying": 2, "drifting": 3}
GOOD = ("careful", "brisk")
_SECONDS = {"brisk": 0.4, "hurried": 0.25, "copying": 0.5}


@dataclass(frozen=True, slots=True)
class Crew:
    columns: CrewColumns
    kinds: tuple[str, ...]  # of each rater
    truth: NDArray[np.int64]  # (items,) which answer is better, gold or not


def simulated_crew(seed: int, *, n_items: int = 1500, votes: int = 10, gold_share: float = 0.05) -> Crew:
    """Draw the votes of a crew, `votes` people on each item.

    A careful person is right with the probability σ(1.2 + 2 u), u the items' ease (exponential, so that many are hard),
    and takes lognormal seconds, longer where the answers are. `brisk`: as right in 0.4 of the time. `hurried`: a
    quarter of the time, and on three of five items a guess. `one-sided`: the left side on half of the items, whatever
    is there. `copying`: the answer of one careful colleague on the items that both have, else a guess on half of them.
    `drifting`: careful at first, guessing more and more until it is three items of four.
    """
    rng = np.random.default_rng(seed)
    kinds = tuple(kind for kind, n in CREW.items() for _ in range(n))
    n_people = len(kinds)
    truth = rng.integers(0, 2, n_items)
    ease = rng.exponential(1.0, n_items)
    lengths = rng.integers(80, 900, (2, n_items))
    # most better answers are a little longer, as in real sets
    longer = rng.random(n_items) < 0.55
    swap = (lengths[truth, np.arange(n_items)] > lengths[1 - truth, np.arange(n_items)]) != longer
    lengths[:, swap] = lengths[::-1, swap]
    chosen = np.argsort(rng.random((n_items, n_people)), axis=1)[:, :votes]
    item = np.repeat(np.arange(n_items), votes)
    rater = chosen.ravel()
    order = np.argsort(rng.random(len(item)))  # the queue gives everybody their items in a mixed order
    item, rater = item[order], rater[order]
    n = len(item)
    swapped = rng.integers(0, 2, n)
    p_right = 1.0 / (1.0 + np.exp(-(1.2 + 2.0 * (ease[item] - 0.5))))
    right = rng.random(n) < p_right
    outcome = np.where(right, truth[item], 1 - truth[item])
    guess = rng.integers(0, 2, n)
    kind = np.array(kinds)[rater]
    done = _rank_within(rater)
    share = done / np.bincount(rater, minlength=n_people)[rater]
    careless = rng.random(n)
    left = swapped  # the side shown first: the second answer where they are swapped
    guessing = (
        ((kind == "hurried") & (careless < 0.6))
        | ((kind == "copying") & (careless < 0.5))
        | ((kind == "drifting") & (careless < 0.75 * share))
    )
    outcome = np.where(guessing, guess, outcome)
    outcome = np.where((kind == "one-sided") & (careless < 0.5), left, outcome)
    at = np.arange(n, dtype=np.float64) * 20.0
    careful = [person for person, name in enumerate(kinds) if name == "careful"]
    by_item = {(int(i), int(r)): row for row, (i, r) in enumerate(zip(item, rater, strict=True))}
    for place, copier in enumerate(np.flatnonzero(np.array(kinds) == "copying").tolist()):
        source = careful[place]
        for row in np.flatnonzero(rater == copier).tolist():
            theirs = by_item.get((int(item[row]), source))
            if theirs is not None:
                outcome[row] = outcome[theirs]
                at[row] = at[theirs] + 5.0
    pace = np.array([_SECONDS.get(name, 1.0) for name in kinds])
    own = np.exp(rng.normal(0.0, 0.2, n_people))
    seconds = pace[rater] * own[rater] * np.exp(rng.normal(2.2, 0.5, n)) * (0.5 + lengths.sum(0)[item] / 1000)
    gold = np.where(rng.random(n_items) < gold_share, truth, MISSING)
    names = tuple(f"{name}-{i}" for i, name in enumerate(kinds))
    columns = CrewColumns(names, gold, lengths[0], lengths[1], item, rater, outcome, swapped, at, seconds)
    return Crew(columns, kinds, truth)


def _rank_within(rater: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number each person's votes in the order in which they are given."""
    order = np.argsort(rater, kind="stable")
    starts = np.searchsorted(rater[order], rater[order], side="left")
    out = np.empty(len(rater), dtype=np.int64)
    out[order] = np.arange(len(rater)) - starts
    return out
