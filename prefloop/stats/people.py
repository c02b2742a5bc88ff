"""Agreement between people, and the baselines for a judge: chance, the most frequent truth, one person, the ceiling.

The ceiling is how often two people agree, over all their shared items. One person is compared with gold if an item has
it, else with the strict majority of everybody else (leave-one-out), so that nobody's own vote counts for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats import agreement
from prefloop.stats.agreement import MISSING
from prefloop.stats.bias import FIRST, SECOND
from prefloop.stats.columns import AgreementColumns, K
from prefloop.stats.intervals import share_interval
from prefloop.stats.item_sums import ItemSums
from prefloop.types import OUTCOMES

Ints = NDArray[np.int64]
Report = dict[str, Any]


def majority_of(columns: AgreementColumns) -> Ints:
    """Give each item's human majority: the outcome with strictly most votes, skips ignored; else MISSING."""
    return strict_majority(vote_counts(columns))


def strict_majority(counts: Ints) -> Ints:
    """Give the outcome with strictly most votes of each row of counts, else MISSING."""
    if not len(counts):
        return np.zeros(0, dtype=np.int64)
    best = counts.max(axis=1)
    strict = (best > 0) & ((counts == best[:, None]).sum(axis=1) == 1)
    return np.where(strict, counts.argmax(axis=1), MISSING)


def truth_of(columns: AgreementColumns) -> Ints:
    """Give gold where an item has it, else the human majority, else MISSING."""
    return np.where(columns.gold >= 0, columns.gold, majority_of(columns))


def vote_counts(columns: AgreementColumns) -> Ints:
    """Count each item's votes by outcome (items, K), skips aside."""
    spoke = columns.vote_outcome >= 0
    flat = columns.vote_item[spoke] * K + columns.vote_outcome[spoke]
    return np.bincount(flat, minlength=len(columns.gold) * K).reshape(len(columns.gold), K).astype(np.int64)


def human_human(columns: AgreementColumns) -> Report:
    counts = vote_counts(columns)
    n = counts.sum(axis=1)
    shared = counts[n >= 2]
    n_shared = n[n >= 2]
    fleiss = None
    if len(shared):
        # The larger of two equally frequent numbers: it has more to say.
        frequency = np.bincount(n_shared)
        modal = int(np.flatnonzero(frequency == frequency.max())[-1])
        fleiss = agreement.fleiss_kappa(shared[n_shared == modal])
    occurs = counts.sum(axis=0) > 0
    for code in range(K):  # a scale has two ends, even where everybody chose one
        occurs[code] |= int(occurs.sum()) < 2
    return {
        "pairs": _rater_pairs(columns),
        "fleiss_kappa": fleiss,
        "krippendorff_alpha": agreement.krippendorff_alpha(counts),
        "gwet_ac1": agreement.gwet_ac1(counts[:, occurs]),
        "n_unanimous": int((shared.max(axis=1, initial=0) == n_shared).sum()),
    }


def _rater_pairs(columns: AgreementColumns) -> list[Report]:
    """Tabulate every two people with an item in common. Votes are sorted by item, so shared items are within runs."""
    spoke = columns.vote_outcome >= 0
    item, rater, outcome = columns.vote_item[spoke], columns.vote_rater[spoke], columns.vote_outcome[spoke]
    n_raters = len(columns.raters)
    cells: list[Ints] = []
    gap = 1
    # Two votes `gap` apart in one item's run are one meeting; every meeting is found at exactly one gap.
    while len(item) > gap and (same := item[gap:] == item[:-gap]).any():
        a, b = rater[:-gap][same], rater[gap:][same]
        cells.append(((a * n_raters + b) * K + outcome[:-gap][same]) * K + outcome[gap:][same])
        gap += 1
    if not cells:
        return []
    keys, counts = np.unique(np.concatenate(cells), return_counts=True)
    pair_keys, place = np.unique(keys // (K * K), return_inverse=True)
    tables = np.zeros((len(pair_keys), K * K), dtype=np.int64)
    tables[place, keys % (K * K)] = counts
    out = []
    for key, cells_of_pair in zip(pair_keys.tolist(), tables, strict=True):
        table = cells_of_pair.reshape(K, K)
        out.append(
            {
                "a": columns.raters[key // n_raters],
                "b": columns.raters[key % n_raters],
                "n": int(table.sum()),
                "agreement": agreement.raw_agreement(table),
                "cohen_kappa": agreement.cohen_kappa(table),
                "ci95": _kappa_interval(table),
                "agreement_without_ties": agreement.raw_agreement(table[:2, :2]),
            }
        )
    return out


def _kappa_interval(table: Ints) -> list[float] | None:
    """Give kappa's interval if every item is one shared pair of votes: its error is the asymptotic one."""
    n, same = int(table.sum()), int(np.trace(table))
    raw = share_interval([1, 0], [1, 1], counts=[same, n - same])
    kappa = agreement.cohen_kappa_interval(table)
    if raw is None or kappa is None:
        return None
    ends = agreement.kappa_interval(table, kappa.ase**2 * n / (n - 1), raw=raw, n_items=n)
    return None if ends is None else [ends.low, ends.high]


def baselines(columns: AgreementColumns, truth: Ints) -> Report:
    """Give the baselines for a judge; null where there is no data."""
    n_items = len(truth)
    sums = ItemSums(n_items)
    known = np.flatnonzero(truth >= 0)
    chance = commonest = None
    if len(known):
        counts = np.bincount(truth[known], minlength=K)
        chance = 1.0 / max(2, int((counts > 0).sum()))
        commonest = int(counts.argmax())
        sums.add("known", known)
        sums.add("commonest", known[truth[known] == commonest])
    item, agrees = _each_against_the_rest(columns)
    sums.add("person", item)
    sums.add("person agrees", item[agrees])
    a, b = columns.length_first, columns.length_second
    unequal = np.flatnonzero(((truth == FIRST) | (truth == SECOND)) & (a != b))
    longer = unequal[((truth == FIRST) == (a > b))[unequal]]
    sums.add("unequal", unequal)
    sums.add("longer", longer)
    return {
        "n_truth": len(known),
        "chance": chance,
        "commonest": None
        if commonest is None
        else {"outcome": OUTCOMES[commonest]} | figure_of(sums, "commonest", "known"),
        "one_person": figure_of(sums, "person agrees", "person") if len(item) else None,
        "ceiling": _ceiling(columns),
        "truth_longer": figure_of(sums, "longer", "unequal"),
    }


def figure_of(sums: ItemSums, hit: str, of: str) -> Report:
    """Give a share with its interval: {"n", "k", "rate", "ci95"}."""
    n, k = int(sums.total(of).sum()), int(sums.total(hit).sum())
    return {"n": n, "k": k, "rate": k / n if n else None, "ci95": sums.share(hit, of) if n else None}


def _each_against_the_rest(columns: AgreementColumns) -> tuple[Ints, NDArray[np.bool_]]:
    """Compare each vote with gold, or if there is none with the strict majority of everybody else's votes."""
    counts = vote_counts(columns)
    # alone and without gold there is nothing to hold a vote to
    held = (columns.vote_outcome >= 0) & ((counts.sum(axis=1) > 1) | (columns.gold >= 0))[columns.vote_item]
    item, outcome = columns.vote_item[held], columns.vote_outcome[held]
    if not len(item):
        return item, np.zeros(0, dtype=bool)
    others = counts[item]  # a row a vote
    others[np.arange(len(item)), outcome] -= 1
    gold = columns.gold[item]
    right = np.where(gold >= 0, gold, strict_majority(others))
    counted = right >= 0
    return item[counted], (outcome == right)[counted]


def _ceiling(columns: AgreementColumns) -> Report | None:
    """Count how often two people agree, over all shared items; an item's pairs of votes belong together."""
    counts = vote_counts(columns)
    n = counts.sum(axis=1)
    meetings = n * (n - 1) // 2
    same = (counts * (counts - 1) // 2).sum(axis=1)
    n_meetings, n_same = int(meetings.sum()), int(same.sum())
    if not n_meetings:
        return None
    ends = share_interval(same, meetings)
    return {
        "n": n_meetings,
        "k": n_same,
        "rate": n_same / n_meetings,
        "ci95": None if ends is None else [ends.low, ends.high],
    }
