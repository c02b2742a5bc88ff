"""What the agreement page shows beyond the report's JSON: baselines, people, biases with intervals, disagreements.

All from the coded columns. Intervals are bootstraps over items with the report's seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.bias import FIRST, SECOND
from prefloop.stats.columns import AgreementColumns, K
from prefloop.stats.intervals import bootstrap_interval, lump, ratio
from prefloop.stats.report import majority_of

Ints = NDArray[np.int64]
N_BOOTSTRAP = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A share with its interval and what it is of."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Baselines:
    """What a judge is held against. None where there is nothing to say it from."""

    chance: float | None  # guessing among the outcomes that truth takes
    commonest: Figure | None  # always saying the commonest truth
    person: Figure | None  # one person against the truth: gold, else the majority of the others
    ceiling: Figure | None  # two people against each other
    n_truth: int


@dataclass(frozen=True, slots=True)
class Bias:
    name: str
    first_slot: Figure
    longer: Figure
    same_in_both: Figure


@dataclass(frozen=True, slots=True)
class Disagreement:
    item: int  # place among the items
    order: str
    sample: int
    truth: int
    said: int
    is_gold: bool


def truth_of(columns: AgreementColumns) -> Ints:
    """Give gold where an item has it, else the human majority, else MISSING."""
    return np.where(columns.gold >= 0, columns.gold, majority_of(columns))


def share(item: Ints, hit: NDArray[np.bool_], *, seed: int = 0, unit: str = "") -> Figure:
    """Give the share of hits among rows, with an interval that draws items and keeps an item's rows together."""
    n = len(item)
    if not n:
        return Figure(None, None, None, 0, unit)
    _, place = np.unique(item, return_inverse=True)
    counts = np.stack([np.bincount(place, weights=hit), np.bincount(place)], axis=1).astype(np.int64)
    ends = bootstrap_interval(lump(counts), ratio, n_bootstrap=N_BOOTSTRAP, seed=seed) if len(counts) > 1 else None
    low, high = (ends.low, ends.high) if ends else (None, None)
    return Figure(float(hit.mean()), low, high, n, unit)


def baselines(columns: AgreementColumns, *, seed: int = 0) -> Baselines:
    truth = truth_of(columns)
    known = truth[truth >= 0]
    chance = commonest = None
    if len(known):
        counts = np.bincount(known, minlength=K)
        chance = 1.0 / max(2, int((counts > 0).sum()))
        items = np.flatnonzero(truth >= 0)
        commonest = share(items, known == counts.argmax(), seed=seed, unit="items")
    return Baselines(chance, commonest, _person(columns, seed), _ceiling(columns, seed), len(known))


def _person(columns: AgreementColumns, seed: int) -> Figure | None:
    """One vote against gold, or where there is none against the strict majority of everybody else's votes."""
    spoke = columns.vote_outcome >= 0
    item, outcome = columns.vote_item[spoke], columns.vote_outcome[spoke]
    if not len(item):
        return None
    counts = np.bincount(item * K + outcome, minlength=len(columns.gold) * K).reshape(-1, K)
    others = counts[item]  # a row a vote
    others[np.arange(len(item)), outcome] -= 1
    best = others.max(axis=1)
    strict = (best > 0) & ((others == best[:, None]).sum(axis=1) == 1)
    right = np.where(columns.gold[item] >= 0, columns.gold[item], np.where(strict, others.argmax(axis=1), -1))
    counted = right >= 0
    if not counted.any():
        return None
    return share(item[counted], (outcome == right)[counted], seed=seed, unit="votes")


def _ceiling(columns: AgreementColumns, seed: int) -> Figure | None:
    spoke = columns.vote_outcome >= 0
    item, outcome = columns.vote_item[spoke], columns.vote_outcome[spoke]
    counts = np.bincount(item * K + outcome, minlength=len(columns.gold) * K).reshape(-1, K)
    n = counts.sum(axis=1)
    meetings = n * (n - 1) // 2
    same = (counts * (counts - 1) // 2).sum(axis=1)
    shared = meetings > 0
    if not shared.any():
        return None
    statistics = np.stack([same[shared], meetings[shared]], axis=1)
    ends = bootstrap_interval(lump(statistics), ratio, n_bootstrap=N_BOOTSTRAP, seed=seed) if shared.sum() > 1 else None
    low, high = (ends.low, ends.high) if ends else (None, None)
    return Figure(float(same.sum() / meetings.sum()), low, high, int(meetings.sum()), "meetings")


def biases(columns: AgreementColumns, *, seed: int = 0) -> list[Bias]:
    """Give each judge's leanings: to the first place, to the longer answer, and whether it keeps its word."""
    out = []
    for code, name in enumerate(columns.judges):
        rows = columns.verdict_judge == code
        item, outcome, swapped = (
            columns.verdict_item[rows],
            columns.verdict_outcome[rows],
            columns.verdict_swapped[rows],
        )
        decisive = (outcome == FIRST) | (outcome == SECOND)
        slot = share(item[decisive], ((outcome == SECOND) == swapped)[decisive], seed=seed, unit="decisive verdicts")
        a, b = columns.length_first[item], columns.length_second[item]
        unequal = decisive & (a != b)
        longer = share(item[unequal], ((outcome == FIRST) == (a > b))[unequal], seed=seed, unit="unequal pairs judged")
        out.append(Bias(name, slot, longer, _same(item, columns.verdict_sample[rows], swapped, outcome, seed)))
    return out


def truth_longer(columns: AgreementColumns) -> Figure:
    """How often the truth is the longer answer: what a judge without a length bias would show too."""
    truth = truth_of(columns)
    a, b = columns.length_first, columns.length_second
    counted = np.flatnonzero(((truth == FIRST) | (truth == SECOND)) & (a != b))
    return share(counted, ((truth == FIRST) == (a > b))[counted], unit="items")


def _same(item: Ints, sample: Ints, swapped: NDArray[np.bool_], outcome: Ints, seed: int) -> Figure:
    unit = item * (int(sample.max(initial=0)) + 1) + sample
    natural, turned = np.flatnonzero(~swapped & (outcome >= 0)), np.flatnonzero(swapped & (outcome >= 0))
    _, i, j = np.intersect1d(unit[natural], unit[turned], return_indices=True)
    i, j = natural[i], turned[j]
    return share(item[i], outcome[i] == outcome[j], seed=seed, unit="pairs read in both orders")


def disagreements(
    columns: AgreementColumns, judge: str, *, truth_code: int | None = None, said_code: int | None = None
) -> list[Disagreement]:
    """List a judge's verdicts that are not the truth, in the order of the items; only one cell where codes are given.

    Given the same code twice it lists what the judge got right.
    """
    if judge not in columns.judges:
        return []
    truth = truth_of(columns)
    rows = np.flatnonzero((columns.verdict_judge == columns.judges.index(judge)) & (columns.verdict_outcome >= 0))
    right, said = truth[columns.verdict_item[rows]], columns.verdict_outcome[rows]
    wanted = right >= 0
    if truth_code is not None:
        wanted &= right == truth_code
    if said_code is not None:
        wanted &= said == said_code
    if truth_code is None or said_code is None:
        wanted &= right != said
    rows = rows[wanted]
    order = np.lexsort((columns.verdict_sample[rows], columns.verdict_swapped[rows], columns.verdict_item[rows]))
    return [
        Disagreement(
            item=int(columns.verdict_item[row]),
            order="10" if columns.verdict_swapped[row] else "01",
            sample=int(columns.verdict_sample[row]),
            truth=int(truth[columns.verdict_item[row]]),
            said=int(columns.verdict_outcome[row]),
            is_gold=bool(columns.gold[columns.verdict_item[row]] >= 0),
        )
        for row in rows[order]
    ]
