"""How each person of a crew labels: speed, agreement, drift and lean to a side, each with its interval.

A vote is right where it is the reference: gold if the item has it, else the strict majority of everybody else's votes
on the item (leave-one-out), so that nobody is measured by their own vote. A person gives one vote on an item, so their
votes are independent trials and a share's interval is Wilson's (Wilson 1927; Brown, Cai and DasGupta 2001).
What of this is suspicious is decided in suspicions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from prefloop.stats.agreement import MISSING, cohen_kappa, cohen_kappa_interval, contingency
from prefloop.stats.bias import FIRST, SECOND
from prefloop.stats.columns import K
from prefloop.stats.intervals import mean_interval, share_interval, wilson_interval
from prefloop.stats.people import strict_majority
from prefloop.types import Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Report = dict[str, Any]

CANT_JUDGE_CODE = MISSING - 1  # of an answer that is none of the outcomes
UNKNOWN = -1  # the order in which the sides were shown


@dataclass(frozen=True, slots=True)
class CrewColumns:
    """Everybody's votes that count, one a person and item; items are places in `gold` and the lengths."""

    raters: tuple[str, ...]
    gold: Ints  # (items,) outcome code or MISSING
    length_first: Ints  # (items,) characters
    length_second: Ints
    item: Ints  # (votes,)
    rater: Ints  # place in `raters`
    outcome: Ints  # outcome code, or a negative one: CANT_JUDGE_CODE, or that of a skip
    swapped: Ints  # 1: the second answer was shown first, 0: the first was, UNKNOWN
    at: Floats  # seconds since some epoch
    seconds: Floats  # of active time, NaN where it was not measured

    def __post_init__(self) -> None:
        votes = (self.item, self.rater, self.outcome, self.swapped, self.at, self.seconds)
        if len({len(column) for column in votes}) != 1:
            raise ValueError("the columns of votes differ in length")


@dataclass(frozen=True, slots=True)
class Measured:
    """The votes with what each is held against, in the order in which they were given."""

    columns: CrewColumns
    order: Ints  # of the votes, by time
    counts: Ints  # (items, K): votes by outcome
    reference: Ints  # (votes,) gold or the others' majority, else MISSING
    ratio: Floats  # (votes,) own active time over that of the others on the item; NaN where unknown


def measured(columns: CrewColumns) -> Measured:
    """Find each vote's reference and its time against the others' on the same item."""
    spoke = columns.outcome >= 0
    flat = columns.item[spoke] * K + columns.outcome[spoke]
    counts = np.bincount(flat, minlength=len(columns.gold) * K).reshape(len(columns.gold), K).astype(np.int64)
    reference = np.full(len(columns.item), MISSING)
    rows = np.flatnonzero(spoke)
    if len(rows):
        others = counts[columns.item[rows]]
        others[np.arange(len(rows)), columns.outcome[rows]] -= 1
        gold = columns.gold[columns.item[rows]]
        reference[rows] = np.where(gold >= 0, gold, strict_majority(others))
    order = np.argsort(columns.at, kind="stable")
    return Measured(columns, order, counts, reference, _time_ratios(columns))


def _time_ratios(columns: CrewColumns) -> Floats:
    """Divide each active time by the geometric mean of the others' on the same item; NaN where there is none."""
    out = np.full(len(columns.item), np.nan)
    timed = np.flatnonzero(columns.seconds > 0)
    log, item = np.log(columns.seconds[timed]), columns.item[timed]
    n_others = np.bincount(item, minlength=len(columns.gold))[item] - 1
    others = np.bincount(item, log, minlength=len(columns.gold))[item] - log
    met = n_others > 0
    out[timed[met]] = np.exp(log[met] - others[met] / n_others[met])
    return out


def person_report(found: Measured, person: int) -> Report:
    """Describe one person, by their place in `raters`; null where there is nothing to say it from."""
    columns = found.columns
    rows = found.order[columns.rater[found.order] == person]
    said = rows[columns.outcome[rows] >= 0]
    right = found.reference[said]
    gold = columns.gold[columns.item[said]]
    return {
        "name": columns.raters[person],
        "n": len(said),
        "n_skipped": int((columns.outcome[rows] == MISSING).sum()),
        "n_cant_judge": int((columns.outcome[rows] == CANT_JUDGE_CODE).sum()),
        "first_at": _at(columns, rows, 0),
        "last_at": _at(columns, rows, -1),
        "seconds": time_of(columns.seconds[rows]),
        "gold": _agrees(columns.outcome[said], gold),
        "majority": _agrees(columns.outcome[said], _majority_of_others(found, said)),
        "reference": _agrees(columns.outcome[said], right),
        "each_other": _each_other(found, said),
        "drift": drift(columns.outcome[said][right >= 0] == right[right >= 0]),
        "first_side": first_side(columns.outcome[said], columns.swapped[said]),
        "longer": longer(
            columns.outcome[said],
            right,
            columns.length_first[columns.item[said]] - columns.length_second[columns.item[said]],
        ),
        "pace": pace(found.ratio[rows]),
    }


def _at(columns: CrewColumns, rows: Ints, place: int) -> float | None:
    return float(columns.at[rows[place]]) if len(rows) else None


def time_of(seconds: Floats) -> Report | None:
    """Give the quartiles of the active time of a label, and its sum; None if no time was measured."""
    known = seconds[np.isfinite(seconds)]
    if not len(known):
        return None
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    return {
        "n": len(known),
        "median": float(median),
        "q1": float(low),
        "q3": float(high),
        "total": float(known.sum()),
    }


def _majority_of_others(found: Measured, rows: Ints) -> Ints:
    columns = found.columns
    others = found.counts[columns.item[rows]]
    others[np.arange(len(rows)), columns.outcome[rows]] -= 1
    return strict_majority(others)


def _agrees(said: Ints, truth: Ints) -> Report | None:
    """Give agreement with Wilson's interval, and Cohen's κ (Cohen 1960) with its asymptotic one (Fleiss, Cohen and
    Everitt 1969).
    """
    known = truth >= 0
    n = int(known.sum())
    if not n:
        return None
    k = int((said[known] == truth[known]).sum())
    table = contingency(said[known], truth[known], k=K)
    kappa = cohen_kappa_interval(table)
    ends = None if kappa is None else [kappa.ci.low, kappa.ci.high]
    return share_of(k, n) | {"kappa": cohen_kappa(table), "kappa_ci95": ends}


def share_of(k: int, n: int, *, confidence: float = 0.95) -> Report:
    """Give k of n independent trials with Wilson's interval."""
    ends = wilson_interval(k, n, confidence=confidence)
    return {"n": n, "k": k, "rate": k / n if n else None, "ci95": None if ends is None else [ends.low, ends.high]}


def _each_other(found: Measured, rows: Ints) -> Report | None:
    """Give how often the others gave the same answer, over all meetings; an item's meetings belong together."""
    columns = found.columns
    counts = found.counts[columns.item[rows]]
    meetings = counts.sum(axis=1) - 1
    same = counts[np.arange(len(rows)), columns.outcome[rows]] - 1
    n = int(meetings.sum())
    if not n:
        return None
    ends = share_interval(same, meetings)
    return {
        "n": n,
        "k": int(same.sum()),
        "rate": int(same.sum()) / n,
        "ci95": None if ends is None else [ends.low, ends.high],
    }


def drift(right: ArrayLike) -> Report | None:
    """Compare the first and the last third of a person's votes, and test for a trend over all of them.

    `right`: for each vote, in the order of time, whether it was the reference. The difference has Newcombe's interval.
    z is the Cochran-Armitage statistic for a trend in shares with the votes' ranks as scores: √n times the correlation
    of being right and rank (Agresti 2013, section 5.3.5). None below six votes.
    """
    hit = np.asarray(right, dtype=np.float64)
    n = len(hit)
    if n < 6:
        return None
    third = n // 3
    early, late = hit[:third], hit[-third:]
    ends = difference_interval(int(late.sum()), third, int(early.sum()), third)
    rank = np.arange(n) - (n - 1) / 2
    spread = np.sqrt(float(((hit - hit.mean()) ** 2).sum()) * float((rank**2).sum()))
    z = 0.0 if spread == 0 else float(rank @ hit) / spread * float(np.sqrt(n))
    return {
        "n": n,
        "first": share_of(int(early.sum()), third),
        "last": share_of(int(late.sum()), third),
        "change": float(late.mean() - early.mean()),
        "ci95": [ends.low, ends.high],
        "z": z,
    }


def difference_interval(k1: int, n1: int, k2: int, n2: int, *, confidence: float = 0.95) -> Interval:
    """Give the interval of k1/n1 - k2/n2, two independent shares (Newcombe 1998, method 10, Stat. Med. 17)."""
    one, two = wilson_interval(k1, n1, confidence=confidence), wilson_interval(k2, n2, confidence=confidence)
    if one is None or two is None:
        raise ValueError("a share of no trials has no interval")
    p1, p2 = k1 / n1, k2 / n2
    low = p1 - p2 - np.hypot(p1 - one.low, two.high - p2)
    high = p1 - p2 + np.hypot(one.high - p1, p2 - two.low)
    return Interval(float(low), float(high))


def first_side(outcome: Ints, swapped: Ints, *, confidence: float = 0.95) -> Report | None:
    """Give how often a person chose the answer shown first, of their votes for one of the two.

    Which answer is shown first is drawn by lot, so whatever the answers are worth, half is what no lean gives.
    """
    rows = ((outcome == FIRST) | (outcome == SECOND)) & (swapped != UNKNOWN)
    n = int(rows.sum())
    if not n:
        return None
    k = int((outcome[rows] == np.where(swapped[rows] == 1, SECOND, FIRST)).sum())
    return share_of(k, n, confidence=confidence)


def longer(outcome: Ints, reference: Ints, surplus: Ints) -> Report | None:
    """Give how much more often a person prefers the longer answer than the reference does, on the same items.

    `surplus`: characters of the first answer minus those of the second. The interval is that of a mean of paired
    differences, with Student's quantile.
    """
    chose = ((outcome == FIRST) | (outcome == SECOND)) & (surplus != 0)
    n = int(chose.sum())
    if not n:
        return None
    theirs = (outcome == FIRST) == (surplus > 0)
    share = share_of(int(theirs[chose].sum()), n)
    both = chose & ((reference == FIRST) | (reference == SECOND))
    excess, ends, usual = None, None, None
    if both.any():
        difference = theirs[both].astype(np.int64) - ((reference[both] == FIRST) == (surplus[both] > 0))
        excess, ends = float(difference.mean()), mean_interval(difference)
        usual = float(((reference[both] == FIRST) == (surplus[both] > 0)).mean())
    return share | {
        "n_both": int(both.sum()),
        "reference_rate": usual,
        "excess": excess,
        "excess_ci95": None if ends is None else [ends.low, ends.high],
    }


def pace(ratio: Floats) -> Report | None:
    """Give the median of a person's times over the others' on the same items.

    The interval is that of order statistics (Conover 1999, section 3.2), which assumes nothing of how times spread.
    """
    known = ratio[np.isfinite(ratio)]
    if not len(known):
        return None
    ends: Any = stats.quantile_test(known, p=0.5).confidence_interval(confidence_level=0.95)
    low, high = (float(end) if np.isfinite(end) else None for end in (ends.low, ends.high))
    return {
        "n": len(known),
        "median": float(np.median(known)),
        "ci95": None if low is None or high is None else [low, high],
    }


def longest_run(sides: ArrayLike) -> int:
    """Give the length of the longest run of equal values."""
    values = np.asarray(sides)
    if not len(values):
        return 0
    ends = np.flatnonzero(np.diff(values)) + 1
    return int(np.diff(np.concatenate([[0], ends, [len(values)]])).max())


def chance_of_run(length: int, n: int, share: float) -> float:
    """Give the probability of a run of at least `length` in n trials that succeed with probability `share`.

    Feller 1968, An Introduction to Probability Theory I, section XIII.7: a run ends first at trial t, after a failure,
    if none was there `length` + 1 trials before.
    """
    if length <= 0:
        return 1.0
    if length > n:
        return 0.0
    whole = share**length
    ended = np.zeros(n + 1)  # by trial t there has been a run
    ended[length] = whole
    for t in range(length + 1, n + 1):
        ended[t] = ended[t - 1] + (1.0 - ended[t - length - 1]) * (1.0 - share) * whole
    return float(min(1.0, ended[n]))
