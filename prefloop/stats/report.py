"""The agreement report: how far judges agree with people, people with each other, and a judge with itself.

Where the interface leaves room: `majority.none` counts items that somebody voted on or skipped and that have no strict
majority; a judge's `n_unparseable` is over items with truth, so that n_correct / (n + n_unparseable) is its accuracy
with unparsed taken as wrong (`raters` has the totals); orders are compared within a sample; Fleiss is over items with
the modal number of votes among those with two or more; AC1's scale is the outcomes that occur, at least two.
An interval needs two items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats import agreement
from prefloop.stats.agreement import MISSING
from prefloop.stats.bias import first_slot, longer_preferred, order_consistency
from prefloop.stats.columns import (
    FAILED,
    UNPARSEABLE,
    AgreementColumns,
    K,
    ReportItem,
    ReportVerdict,
    ReportVote,
    columns_of,
)
from prefloop.stats.intervals import ItemStatistics, bootstrap_sums, lump, percentile_interval
from prefloop.stats.leaderboard import Game, leaderboard_report
from prefloop.types import OUTCOMES, Interval

__all__ = [
    "Game",
    "ReportItem",
    "ReportVerdict",
    "ReportVote",
    "agreement_report",
    "agreement_report_of_columns",
    "columns_of",
    "leaderboard_report",
    "majority_of",
]

Ints = NDArray[np.int64]
Report = dict[str, Any]


def agreement_report(
    *,
    project: str,
    items: Sequence[ReportItem],
    votes: Iterable[ReportVote],
    verdicts: Iterable[ReportVerdict],
    raters_kind: Mapping[str, str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Build the object of `report_agreement --json`. `raters_kind` names kinds other than "human" and "judge"."""
    columns = columns_of(items, votes, verdicts)
    return agreement_report_of_columns(
        project=project, columns=columns, raters_kind=raters_kind, n_bootstrap=n_bootstrap, seed=seed
    )


def agreement_report_of_columns(
    *,
    project: str,
    columns: AgreementColumns,
    raters_kind: Mapping[str, str] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Build the same from columns that are coded already."""
    kinds = raters_kind or {}
    majority = majority_of(columns)
    touched = np.zeros(len(columns.gold), dtype=bool)
    touched[columns.vote_item] = True
    truth = np.where(columns.gold >= 0, columns.gold, majority)
    spoke = columns.vote_outcome >= 0
    n_votes = np.bincount(columns.vote_rater[spoke], minlength=len(columns.raters))
    raters = [
        {"name": name, "kind": kinds.get(name, "human"), "n": int(n_votes[i]), "n_unparseable": 0, "n_error": 0}
        for i, name in enumerate(columns.raters)
    ]
    judges = []
    by_judge = np.argsort(columns.verdict_judge, kind="stable")
    ends = np.searchsorted(columns.verdict_judge[by_judge], np.arange(len(columns.judges) + 1))
    for i, name in enumerate(columns.judges):
        rows = by_judge[ends[i] : ends[i + 1]]
        outcome = columns.verdict_outcome[rows]
        counts = {
            "n": int((outcome >= 0).sum()),
            "n_unparseable": int((outcome == UNPARSEABLE).sum()),
            "n_error": int((outcome == FAILED).sum()),
        }
        raters.append({"name": name, "kind": kinds.get(name, "judge"), **counts})
        judges.append({"name": name} | _judge(columns, rows, truth, n_bootstrap=n_bootstrap, seed=seed))
    return {
        "project": project,
        "n_items": len(columns.gold),
        "n_gold": int((columns.gold >= 0).sum()),
        "n_majority": int((majority >= 0).sum()),
        "raters": raters,
        "human_human": _human_human(columns, n_bootstrap=n_bootstrap, seed=seed),
        "majority": {outcome: int((majority == code).sum()) for code, outcome in enumerate(OUTCOMES)}
        | {"none": int((touched & (majority < 0)).sum())},
        "judges": judges,
    }


def majority_of(columns: AgreementColumns) -> Ints:
    """Give each item's human majority: the outcome with strictly most votes, skips aside; else MISSING."""
    counts = _vote_counts(columns)
    if not len(counts):
        return np.zeros(0, dtype=np.int64)
    best = counts.max(axis=1)
    strict = (best > 0) & ((counts == best[:, None]).sum(axis=1) == 1)
    return np.where(strict, counts.argmax(axis=1), MISSING)


def _vote_counts(columns: AgreementColumns) -> Ints:
    spoke = columns.vote_outcome >= 0
    flat = columns.vote_item[spoke] * K + columns.vote_outcome[spoke]
    return np.bincount(flat, minlength=len(columns.gold) * K).reshape(len(columns.gold), K).astype(np.int64)


def _human_human(columns: AgreementColumns, *, n_bootstrap: int, seed: int) -> Report:
    counts = _vote_counts(columns)
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
        "pairs": _rater_pairs(columns, n_bootstrap=n_bootstrap, seed=seed),
        "fleiss_kappa": fleiss,
        "krippendorff_alpha": agreement.krippendorff_alpha(counts),
        "gwet_ac1": agreement.gwet_ac1(counts[:, occurs]),
        "n_unanimous": int((shared.max(axis=1, initial=0) == n_shared).sum()),
    }


def _rater_pairs(columns: AgreementColumns, *, n_bootstrap: int, seed: int) -> list[Report]:
    """Tabulate every two people with an item in common. Votes are sorted by item, so meetings are within runs."""
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
        used = cells_of_pair > 0
        items = ItemStatistics(np.eye(K * K)[used], cells_of_pair[used])
        out.append(
            {
                "a": columns.raters[key // n_raters],
                "b": columns.raters[key % n_raters],
                "n": int(table.sum()),
                "agreement": agreement.raw_agreement(table),
                "cohen_kappa": agreement.cohen_kappa(table),
                "ci95": _intervals(items, table, n_bootstrap=n_bootstrap, seed=seed)[1],
            }
        )
    return out


def _judge(columns: AgreementColumns, rows: Ints, truth: Ints, *, n_bootstrap: int, seed: int) -> Report:
    item, outcome, swapped = columns.verdict_item[rows], columns.verdict_outcome[rows], columns.verdict_swapped[rows]
    right = truth[item]
    counted = (outcome >= 0) & (right >= 0)
    table = agreement.contingency(right, np.where(outcome >= 0, outcome, MISSING), k=K)
    accuracy_ci, kappa_ci = _intervals(
        _item_tables(item[counted], right[counted], outcome[counted]), table, n_bootstrap=n_bootstrap, seed=seed
    )
    decisive = table[:2, :2]  # first and second, on both sides
    macro = agreement.macro_scores(table)
    natural_code, swapped_code = _both_orders(item, columns.verdict_sample[rows], swapped, outcome)
    consistency = order_consistency(natural_code, swapped_code)
    order_table = agreement.contingency(np.maximum(natural_code, -1), np.maximum(swapped_code, -1), k=K)
    slot = first_slot(outcome, swapped)
    longer = longer_preferred(outcome, columns.length_first[item], columns.length_second[item])
    return {
        "n": int(table.sum()),
        "n_correct": int(np.trace(table)),
        "accuracy": agreement.raw_agreement(table),
        "accuracy_ci95": accuracy_ci,
        "accuracy_without_ties": agreement.raw_agreement(decisive),
        "cohen_kappa": agreement.cohen_kappa(table),
        "kappa_ci95": kappa_ci,
        "macro_precision": macro.precision if macro else None,
        "macro_recall": macro.recall if macro else None,
        "macro_f1": macro.f1 if macro else None,
        "confusion": {
            t: {o: int(table[i, j]) for j, o in enumerate(OUTCOMES)} for i, t in enumerate(OUTCOMES)
        },  # truth, then what the judge said
        "n_unparseable": int(((outcome == UNPARSEABLE) & (right >= 0)).sum()),
        "by_order": {
            "01": _one_order(right[counted & ~swapped], outcome[counted & ~swapped]),
            "10": _one_order(right[counted & swapped], outcome[counted & swapped]),
        },
        "n_both_parsed": consistency.n,
        "n_both_unparseable": int(((natural_code == UNPARSEABLE) & (swapped_code == UNPARSEABLE)).sum()),
        "order_consistency": consistency.rate,
        "order_kappa": agreement.cohen_kappa(order_table),
        "first_slot_rate": slot.rate,
        "longer_preferred": {"n": longer.n, "k": longer.k, "rate": longer.rate},
    }


def _one_order(right: Ints, outcome: Ints) -> Report:
    table = agreement.contingency(right, outcome, k=K)
    return {
        "n": int(table.sum()),
        "n_correct": int(np.trace(table)),
        "accuracy": agreement.raw_agreement(table),
        "cohen_kappa": agreement.cohen_kappa(table),
    }


def _item_tables(item: Ints, right: Ints, outcome: Ints) -> ItemStatistics:
    """Count each item's verdicts by cell of the confusion; items without one don't enter."""
    if not len(item):
        return lump(np.zeros((0, K * K), dtype=np.int64))
    _, place = np.unique(item, return_inverse=True)
    n = int(place.max()) + 1
    cells = np.bincount(place * K * K + right * K + outcome, minlength=n * K * K)
    return lump(cells.reshape(n, K * K))


def _intervals(
    items: ItemStatistics, table: Ints, *, n_bootstrap: int, seed: int
) -> tuple[list[float] | None, list[float] | None]:
    """Bootstrap accuracy and kappa over items."""
    if items.n_items < 2 or n_bootstrap < 1:
        return None, None
    sums = bootstrap_sums(items, n_bootstrap=n_bootstrap, seed=seed).reshape(-1, K, K)
    accuracy = np.trace(sums, axis1=1, axis2=2) / sums.sum(axis=(1, 2))
    kappa_ci = None
    if agreement.cohen_kappa(table) is not None:
        kappa_ci = _ends(percentile_interval(agreement.kappas(sums)))
    return _ends(percentile_interval(accuracy)), kappa_ci


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _both_orders(item: Ints, sample: Ints, swapped: NDArray[np.bool_], outcome: Ints) -> tuple[Ints, Ints]:
    """Give outcome codes of the (item, sample) units that have a verdict in each order, natural then swapped."""
    span = int(sample.max(initial=0)) + 1
    unit = item * span + sample
    natural, turned = np.flatnonzero(~swapped), np.flatnonzero(swapped)
    _, i, j = np.intersect1d(unit[natural], unit[turned], return_indices=True)
    return outcome[natural[i]], outcome[turned[j]]
