"""The part of the agreement report on one judge, and on two judges compared with each other.

Verdicts are arranged as a table (items, orders, samples) per judge, so that both orders of a unit, and two judges on
it, are next to each other. Items with equal values (truth, which answer is longer, whose answers, every verdict) are
counted once with their number, so that the rest costs as much as there are kinds of items: hundreds, for a million
verdicts. Intervals are over the items a judge labelled, never over verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats import agreement
from prefloop.stats.agreement import MISSING
from prefloop.stats.alternative import EPSILON, alternative_annotator_test
from prefloop.stats.bias import FIRST, SECOND
from prefloop.stats.calibration import calibration
from prefloop.stats.columns import UNPARSEABLE, AgreementColumns, K
from prefloop.stats.intervals import distinct
from prefloop.stats.item_sums import ItemSums
from prefloop.stats.people import figure_of
from prefloop.types import OUTCOMES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Report = dict[str, Any]

NOT_ASKED = -9
NO_ORDER = 2  # beside the two orders, 0 and 1
INCONSISTENT = K  # a judge's label of an item on which its readable verdicts differ: it agrees with nobody
_TRUE_P = np.array([1.0, 0.0, 0.5, np.nan])  # what a soft label is held to; both bad says nothing of which is better


@dataclass(frozen=True, slots=True)
class JudgeRows:
    """One judge's verdicts: rows as they came, and the table of outcome codes (items, orders, samples).

    There are two orders, and a third place for verdicts in no order (from rankings) if there are any.
    """

    code: int
    item: Ints
    outcome: Ints
    swapped: NDArray[np.bool_]
    p: Floats
    table: NDArray[np.int8]

    @property
    def label(self) -> Ints:
        """Give each item's one label: that of all readable verdicts, INCONSISTENT if they differ, else MISSING."""
        flat = self.table.reshape(len(self.table), -1)
        most = flat.max(axis=1, initial=NOT_ASKED)
        least = np.where(flat >= 0, flat, K).min(axis=1, initial=K)
        return np.where(most < 0, MISSING, np.where(most == least, most, INCONSISTENT)).astype(np.int64)


def rows_by_judge(columns: AgreementColumns) -> list[JudgeRows]:
    """Lay out each judge's verdicts, judges in order."""
    n_items, span = len(columns.gold), int(columns.verdict_sample.max(initial=0)) + 1
    place = columns.verdict_swapped.astype(np.int64)
    if columns.verdict_unordered.any():
        place[columns.verdict_unordered] = NO_ORDER
    n_places = int(place.max(initial=1)) + 1
    by_judge = np.argsort(columns.verdict_judge, kind="stable")
    ends = np.searchsorted(columns.verdict_judge[by_judge], np.arange(len(columns.judges) + 1))
    out = []
    for code in range(len(columns.judges)):
        rows = by_judge[ends[code] : ends[code + 1]]
        item, outcome = columns.verdict_item[rows], columns.verdict_outcome[rows]
        swapped = columns.verdict_swapped[rows]
        table = np.full((n_items, n_places, span), NOT_ASKED, dtype=np.int8)
        table[item, place[rows], columns.verdict_sample[rows]] = outcome
        p = columns.verdict_p[rows] if len(columns.verdict_p) else np.full(len(rows), np.nan)
        out.append(JudgeRows(code, item, outcome, swapped, p, table))
    return out


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Items of a judge, equal ones together: how many of each, and their values."""

    counts: Ints  # (m,)
    truth: Ints
    longer: Ints  # FIRST, SECOND, or MISSING where both are equally long
    own: Ints  # which answer is the judge's own model's, MISSING where neither or both
    table: Ints  # (m, orders, samples)

    @staticmethod
    def of(columns: AgreementColumns, rows: JudgeRows, truth: Ints) -> _Kinds:
        a, b = columns.length_first, columns.length_second
        longer = np.where(a > b, FIRST, np.where(a < b, SECOND, MISSING))
        own = _own_answer(columns, rows)
        asked = np.flatnonzero(np.any(rows.table != NOT_ASKED, axis=(1, 2)))
        _, n_places, span = rows.table.shape
        slots = [rows.table[asked, order, sample] for order in range(n_places) for sample in range(span)]
        looks = [truth[asked] - MISSING, longer[asked] - MISSING, own[asked] - MISSING]
        first, counts = distinct([*looks, *(slot.astype(np.int64) - NOT_ASKED for slot in slots)])
        at = asked[first]
        return _Kinds(counts, truth[at], longer[at], own[at], rows.table[at].astype(np.int64))


def judge_report(
    columns: AgreementColumns, rows: JudgeRows, truth: Ints, *, n_bootstrap: int, seed: int, epsilon: float = EPSILON
) -> Report:
    kinds = _Kinds.of(columns, rows, truth)
    sums = ItemSums(len(kinds.counts), counts=kinds.counts, n_bootstrap=n_bootstrap, seed=seed)
    kind, order, _ = np.nonzero(kinds.table != NOT_ASKED)
    outcome, swapped, right = kinds.table[kinds.table != NOT_ASKED], order == 1, kinds.truth[kind]
    counted = (outcome >= 0) & (right >= 0)
    cell = right * K + outcome
    for name, part in (("cells", counted), ("cells 01", counted & (order == 0)), ("cells 10", counted & swapped)):
        sums.add(name, kind[part], cell=cell[part], n_cells=K * K)
    sums.add("unparseable", kind[(outcome == UNPARSEABLE) & (right >= 0)])
    table = sums.total("cells").reshape(K, K)
    decisive = table[:2, :2]  # first and second, on both sides
    macro = agreement.macro_scores(table)
    natural, turned = kinds.table[:, 0, :], kinds.table[:, 1, :]
    both = (natural >= 0) & (turned >= 0)
    unit = np.nonzero(both)[0]
    sums.add("orders", unit, cell=natural[both] * K + turned[both], n_cells=K * K)
    sums.add("both orders", unit)
    sums.add("same in both", np.nonzero(both & (natural == turned))[0])
    sums.add("neither read", np.nonzero((natural == UNPARSEABLE) & (turned == UNPARSEABLE))[0])
    _add_leanings(sums, kinds, kind, outcome, order)
    same, slot = figure_of(sums, "same in both", "both orders"), figure_of(sums, "first slot", "decisive")
    longer = figure_of(sums, "longer", "unequal")
    return {
        "n": int(table.sum()),
        "n_correct": int(np.trace(table)),
        "accuracy": agreement.raw_agreement(table),
        "accuracy_ci95": sums.agreement("cells", k=K),
        "accuracy_without_ties": agreement.raw_agreement(decisive),
        "cohen_kappa": agreement.cohen_kappa(table),
        "kappa_ci95": sums.kappa("cells", k=K),
        "macro_precision": macro.precision if macro else None,
        "macro_recall": macro.recall if macro else None,
        "macro_f1": macro.f1 if macro else None,
        "confusion": {
            t: {o: int(table[i, j]) for j, o in enumerate(OUTCOMES)} for i, t in enumerate(OUTCOMES)
        },  # truth, then what the judge said
        "n_unparseable": int(sums.total("unparseable")[0]),
        "by_order": {order: _one_order(sums.total(f"cells {order}").reshape(K, K)) for order in ("01", "10")},
        "n_both_parsed": same["n"],
        "n_both_unparseable": int(sums.total("neither read")[0]),
        "order_consistency": same["rate"],
        "order_kappa": agreement.cohen_kappa(sums.total("orders").reshape(K, K)),
        "first_slot_rate": slot["rate"],
        "longer_preferred": {key: longer[key] for key in ("n", "k", "rate")},
        "n_without_ties": int(decisive.sum()),
        "accuracy_without_ties_ci95": sums.agreement("cells", k=K, first=2),
        "order_consistency_ci95": same["ci95"],
        "first_slot": slot,
        "longer_preferred_ci95": longer["ci95"],
        "self_preference": _self_preference(columns, rows, sums),
        "calibration": _calibration(rows, truth[rows.item]),
        "alternative_annotator": _alternative(columns, rows, epsilon),
        "n_comparisons": sums.n_with("cells"),
        "by_round": group_accuracy(rows, truth, columns.round, columns.rounds),
    }


def judge_pairs(columns: AgreementColumns, judges: Sequence[JudgeRows], *, n_bootstrap: int, seed: int) -> list[Report]:
    """Tabulate every two judges asked the same (comparison, order and sample), readable on both sides."""
    out = []
    for i, one in enumerate(judges):
        for other in judges[i + 1 :]:
            met = (one.table >= 0) & (other.table >= 0)
            items = np.flatnonzero(np.any(met, axis=(1, 2)))
            if not len(items):
                continue
            cells = one.table[items].astype(np.int64) * K + other.table[items]
            cells = np.where(met[items], cells, K * K).reshape(len(items), -1)
            first, counts = distinct([cells[:, slot] for slot in range(cells.shape[1])])
            kind, slot = np.nonzero(cells[first] < K * K)
            sums = ItemSums(len(first), counts=counts, n_bootstrap=n_bootstrap, seed=seed)
            sums.add("cells", kind, cell=cells[first][kind, slot], n_cells=K * K)
            table = sums.total("cells").reshape(K, K)
            out.append(
                {
                    "a": columns.judges[one.code],
                    "b": columns.judges[other.code],
                    "n": int(table.sum()),
                    "agreement": agreement.raw_agreement(table),
                    "agreement_ci95": sums.agreement("cells", k=K),
                    "agreement_without_ties": agreement.raw_agreement(table[:2, :2]),
                    "cohen_kappa": agreement.cohen_kappa(table),
                    "ci95": sums.kappa("cells", k=K),
                }
            )
    return out


def group_accuracy(rows: JudgeRows, truth: Ints, group: Ints, names: Sequence[str]) -> list[Report]:
    """Give a judge's accuracy in each group of items (places in `names`, or MISSING) that has a figure."""
    if not len(group):
        return []
    right = truth[rows.item]
    counted = (rows.outcome >= 0) & (right >= 0) & (group >= 0)[rows.item]
    item, hit = rows.item[counted], (rows.outcome == right)[counted]
    n = np.bincount(item, minlength=len(group))
    k = np.bincount(item[hit], minlength=len(group))
    spoke = np.flatnonzero(n)
    if not len(spoke):
        return []
    of = group[spoke]
    first, counts = distinct([of, n[spoke], k[spoke]])
    out = []
    for code in np.unique(of).tolist():
        mine = first[of[first] == code]
        sums = ItemSums(len(mine), counts=counts[of[first] == code])
        sums.add_sums("n", n[spoke][mine])
        sums.add_sums("k", k[spoke][mine])
        out.append({"name": names[code]} | figure_of(sums, "k", "n"))
    return out


def _one_order(table: Ints) -> Report:
    return {
        "n": int(table.sum()),
        "n_correct": int(np.trace(table)),
        "accuracy": agreement.raw_agreement(table),
        "cohen_kappa": agreement.cohen_kappa(table),
    }


def _own_answer(columns: AgreementColumns, rows: JudgeRows) -> Ints:
    """Say which answer of each item is by the judge's own model; MISSING where neither or both are."""
    own = columns.judge_models[rows.code] if columns.judge_models else ()
    if not own or not len(columns.model_first):
        return np.full(len(columns.gold), MISSING)
    first, second = np.isin(columns.model_first, own), np.isin(columns.model_second, own)
    return np.where(first & ~second, FIRST, np.where(second & ~first, SECOND, MISSING))


def _add_leanings(sums: ItemSums, kinds: _Kinds, kind: Ints, outcome: Ints, order: Ints) -> None:
    decisive = (outcome == FIRST) | (outcome == SECOND)
    shown = decisive & (order != NO_ORDER)
    sums.add("decisive", kind[shown])
    sums.add("first slot", kind[shown & ((outcome == SECOND) == (order == 1))])
    unequal = decisive & (kinds.longer[kind] >= 0)
    sums.add("unequal", kind[unequal])
    sums.add("longer", kind[unequal & (outcome == kinds.longer[kind])])
    own = kinds.own[kind]
    mine = decisive & (own >= 0)
    right = kinds.truth[kind]
    known = mine & ((right == FIRST) | (right == SECOND))
    sums.add("own", kind[mine])
    sums.add("chose own", kind[mine & (outcome == own)])
    sums.add("own known", kind[known])
    sums.add("chose own known", kind[known & (outcome == own)])
    sums.add("own deserved", kind[known & (right == own)])


def _self_preference(columns: AgreementColumns, rows: JudgeRows, sums: ItemSums) -> Report | None:
    """How often a judge prefers its own model's answer to another's, and how often the truth does on the same verdicts.

    None if no decisive verdict is on a pair with exactly one answer of the judge's own model.
    """
    chose = figure_of(sums, "chose own", "own")
    if not chose["n"]:
        return None
    n_known, n_chose, n_deserved = (
        int(sums.total(name)[0]) for name in ("own known", "chose own known", "own deserved")
    )

    return {
        "models": [columns.models[code] for code in columns.judge_models[rows.code]],
        **chose,
        "n_truth": n_known,
        "truth_rate": n_deserved / n_known if n_known else None,
        "excess": (n_chose - n_deserved) / n_known if n_known else None,
        "excess_ci95": sums.difference("chose own known", "own deserved", "own known"),
    }


def _calibration(rows: JudgeRows, right: Ints) -> Report | None:
    """Compare soft labels with truth; None if the judge gave none that can be compared."""
    known = (right >= 0) & np.isfinite(rows.p)
    if not known.any():
        return None
    found = calibration(rows.p[known], _TRUE_P[right[known]], item=rows.item[known])
    if not found.n:
        return None
    brier = found.brier_interval
    return {
        "n": found.n,
        "ece": found.ece,
        "brier": found.brier,
        "brier_ci95": None if brier is None else [brier.low, brier.high],
        "bins": [
            {
                "low": b.low,
                "high": b.high,
                "n": b.n,
                "said": b.said,
                "true": b.true,
                "ci95": None if b.interval is None else [b.interval.low, b.interval.high],
            }
            for b in found.bins
        ],
    }


def _alternative(columns: AgreementColumns, rows: JudgeRows, epsilon: float) -> Report:
    found = alternative_annotator_test(
        columns.vote_item, columns.vote_rater, columns.vote_outcome, rows.label, epsilon=epsilon
    )
    return {
        "epsilon": found.epsilon,
        "winning_rate": found.winning_rate,
        "advantage": found.advantage,
        "passed": found.passed,
        "reason": found.reason or None,
        "people": [
            {
                "name": columns.raters[a.rater],
                "n": a.n,
                "judge_wins": a.judge_wins,
                "person_wins": a.person_wins,
                "p_value": a.p_value,
                "rejected": a.rejected,
            }
            for a in found.people
        ],
    }
