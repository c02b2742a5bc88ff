"""Figures for the agreement page: baselines, biases, and the pairs behind a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from apps.judging.cards import Figure, JudgeCard, card_of
from prefloop.stats.columns import AgreementColumns
from prefloop.stats.people import truth_of

Ints = NDArray[np.int64]

__all__ = ["Baselines", "Disagreement", "Figure", "JudgeCard", "baselines", "biases", "disagreements"]


@dataclass(frozen=True, slots=True)
class Baselines:
    """The baselines for a judge. None where there is no data."""

    chance: float | None  # guessing among the outcomes that truth takes
    commonest: Figure | None  # always saying the commonest truth
    person: Figure | None  # one person against the truth: gold, else the majority of the others
    ceiling: Figure | None  # two people against each other
    truth_longer: Figure | None
    n_truth: int


@dataclass(frozen=True, slots=True)
class Disagreement:
    item: int  # place among the items
    order: str
    sample: int
    truth: int
    said: int
    is_gold: bool


class Disagreements(Sequence[Disagreement]):
    """Rows of verdicts, read when needed: there may be tens of thousands behind a page of 25."""

    def __init__(self, columns: AgreementColumns, truth: Ints, rows: Ints) -> None:
        self._columns, self._truth, self._rows = columns, truth, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Disagreement: ...
    @overload
    def __getitem__(self, at: slice) -> list[Disagreement]: ...
    def __getitem__(self, at: int | slice) -> Disagreement | list[Disagreement]:
        if isinstance(at, slice):
            return [self._read(row) for row in self._rows[at].tolist()]
        return self._read(int(self._rows[at]))

    def _read(self, row: int) -> Disagreement:
        columns, item = self._columns, int(self._columns.verdict_item[row])
        return Disagreement(
            item=item,
            order=_order(columns, row),
            sample=int(columns.verdict_sample[row]),
            truth=int(self._truth[item]),
            said=int(columns.verdict_outcome[row]),
            is_gold=bool(columns.gold[item] >= 0),
        )


def _order(columns: AgreementColumns, row: int) -> str:
    if len(columns.verdict_unordered) and columns.verdict_unordered[row]:
        return ""  # a ranking shows its answers in no order
    return "10" if columns.verdict_swapped[row] else "01"


def baselines(report: dict[str, Any]) -> Baselines:
    base = report["baselines"]
    return Baselines(
        chance=base["chance"],
        commonest=Figure.of(base["commonest"], "items"),
        person=Figure.of(base["one_person"], "votes"),
        ceiling=Figure.of(base["ceiling"], "meetings"),
        truth_longer=Figure.of(base["truth_longer"], "items"),
        n_truth=base["n_truth"],
    )


def biases(report: dict[str, Any]) -> list[JudgeCard]:
    """Return each judge's biases: for the first position, for the longer answer, and its consistency."""
    return [card_of(judge["name"], judge, report["baselines"]) for judge in report["judges"]]


def disagreements(
    columns: AgreementColumns, judge: str, *, truth_code: int | None = None, said_code: int | None = None
) -> Disagreements:
    """List a judge's wrong verdicts, by item; or those of one cell of its confusion.

    With the same code twice it lists the judge's right verdicts.
    """
    truth = truth_of(columns)
    if judge not in columns.judges:
        return Disagreements(columns, truth, np.zeros(0, dtype=np.int64))
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
    return Disagreements(columns, truth, rows[order])
