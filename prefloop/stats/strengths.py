"""How much better people found the better answer, and whether agreement rises with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.intervals import share_interval
from prefloop.types import OUTCOMES, STRENGTHS

Ints = NDArray[np.int64]
UNSAID = -1  # the code of a vote for one answer that says no strength; else an index into STRENGTHS
_ONE_ANSWER = 2  # the first two outcomes choose one


@dataclass(frozen=True, slots=True)
class Votes:
    """Current blind votes. `item`: from 0 below n_items; `strength`: UNSAID or an index of STRENGTHS."""

    n_items: int
    item: Ints
    outcome: Ints
    strength: Ints


def strength_report(votes: Votes, verdicts: Mapping[str, tuple[Ints, Ints]]) -> dict[str, Any]:
    """Count votes for one answer by strength, and how often other people and judges say the same.

    `verdicts`: each judge's items and outcomes (negative: unreadable). Agreement is over pairs of a vote with another
    person's vote, or with a verdict, on the same item, and its interval over items; ties and both_bad disagree.
    """
    others = _table(votes.item, votes.outcome, votes.n_items)
    said_by = {name: _table(item, outcome, votes.n_items) for name, (item, outcome) in verdicts.items()}
    rows = []
    chosen = (votes.outcome >= 0) & (votes.outcome < _ONE_ANSWER)
    n_said = int((chosen & (votes.strength != UNSAID)).sum())
    for code, name in enumerate(STRENGTHS):
        mine = chosen & (votes.strength == code)
        n = int(mine.sum())
        table = _table(votes.item[mine], votes.outcome[mine], votes.n_items)
        # a vote is no agreement with itself
        same, pairs = (table * (others - (table > 0))).sum(axis=1), table.sum(axis=1) * (others.sum(axis=1) - 1)
        judges = []
        for judge, said in said_by.items():
            agreeing = _share((table * said).sum(axis=1), table.sum(axis=1) * said.sum(axis=1))
            if agreeing is not None:
                judges.append({"name": judge} | agreeing)
        share = n / n_said if n_said else None
        rows.append({"name": name, "n": n, "share": share, "people": _share(same, pairs), "judges": judges})
    return {"n_said": n_said, "n_unsaid": int((chosen & (votes.strength == UNSAID)).sum()), "strengths": rows}


def _table(item: Ints, outcome: Ints, n_items: int) -> Ints:
    """Count the outcomes of each item: (n_items, number of outcomes)."""
    read = outcome >= 0
    cells = np.bincount(item[read] * len(OUTCOMES) + outcome[read], minlength=n_items * len(OUTCOMES))
    return cells.reshape(n_items, len(OUTCOMES)).astype(np.int64)


def _share(same: Ints, pairs: Ints) -> dict[str, Any] | None:
    n = int(pairs.sum())
    if not n:
        return None
    interval = share_interval(same, pairs)
    ends = None if interval is None else [interval.low, interval.high]
    return {"rate": int(same.sum()) / n, "n": n, "n_comparisons": int((pairs > 0).sum()), "ci95": ends}
