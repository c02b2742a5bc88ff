"""The figures on a judge's card, with intervals: agreement, the ceiling, position and length bias."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.kept_figures import cache
from apps.labels.columns import agreement_columns, content_version
from apps.projects.models import Project
from prefloop.stats.judge_report import judge_report, rows_by_judge
from prefloop.stats.people import baselines, truth_of

KEPT_SECONDS = 3600
N_BOOTSTRAP = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A share with its 95 % interval and its n. None if unknown."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str = ""

    @staticmethod
    def of(report: Mapping[str, Any] | None, unit: str = "") -> Figure | None:
        """Read a {"n", "rate", "ci95"} of a report; None stays None."""
        if report is None:
            return None
        low, high = report["ci95"] or (None, None)
        return Figure(report["rate"], low, high, report["n"], unit)


@dataclass(frozen=True, slots=True)
class JudgeCard:
    name: str
    agreement: Figure  # with the truth; unit: verdicts
    kappa: float | None
    ceiling: Figure | None  # how well two people agree; unit: meetings
    same_in_both_orders: Figure
    first_slot: Figure  # decisive verdicts for the answer shown first; ½ is no bias
    longer: Figure  # decisive verdicts for the longer answer
    truth_longer: Figure  # how often the truth is the longer answer: what a judge without a length bias shows too


def judge_cards(project: Project, names: Mapping[int, str]) -> dict[str, JudgeCard]:
    """Return a card for each judge that has verdicts, by the names given by id; cached until there is a new label."""
    called = hashlib.sha256(repr(sorted(names.items())).encode()).hexdigest()[:12]
    key = f"judge-cards:{project.pk}:{content_version(project)}:{called}"
    kept: dict[str, JudgeCard] | None = cache.get(key)
    if kept is None:
        kept = _make(project, names)
        cache.set(key, kept, KEPT_SECONDS)
    return kept


def _make(project: Project, names: Mapping[int, str]) -> dict[str, JudgeCard]:
    columns = agreement_columns(project, names)
    truth = truth_of(columns)
    base = baselines(columns, truth)
    cards = {}
    for rows in rows_by_judge(columns):
        report = judge_report(columns, rows, truth, n_bootstrap=N_BOOTSTRAP, seed=0)
        cards[columns.judges[rows.code]] = card_of(columns.judges[rows.code], report, base)
    return cards


def card_of(name: str, report: Mapping[str, Any], base: Mapping[str, Any]) -> JudgeCard:
    """Read a judge's part of the agreement report, and the report's baselines."""

    def figure(n: str, rate: str, ci95: str, unit: str) -> Figure:
        low, high = report[ci95] or (None, None)
        return Figure(report[rate], low, high, report[n], unit)

    longer = report["longer_preferred"] | {"ci95": report["longer_preferred_ci95"]}
    return JudgeCard(
        name=name,
        agreement=figure("n", "accuracy", "accuracy_ci95", "verdicts"),
        kappa=report["cohen_kappa"],
        ceiling=Figure.of(base["ceiling"], "meetings"),
        same_in_both_orders=figure("n_both_parsed", "order_consistency", "order_consistency_ci95", "pairs"),
        first_slot=_known(Figure.of(report["first_slot"], "decisive verdicts")),
        longer=_known(Figure.of(longer, "unequal pairs judged")),
        truth_longer=_known(Figure.of(base["truth_longer"], "comparisons")),
    )


def _known(figure: Figure | None) -> Figure:
    return figure or Figure(None, None, None, 0)
