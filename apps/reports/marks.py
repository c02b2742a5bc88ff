"""The passages that people marked in answers: how many are good and bad, why, and in which of the two answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.projects.models import Project
from apps.reports.reasons import AT_ONCE, votes_of
from prefloop.types import OUTCOMES


@dataclass(slots=True)
class MarkCount:
    """Marks with one short reason; "" are those without. `…_decided`: those in votes for one of the two answers;
    `…_in_chosen`: of these, those in the answer that was chosen.
    """

    reason: str
    good: int = 0
    bad: int = 0
    good_decided: int = 0
    bad_decided: int = 0
    good_in_chosen: int = 0
    bad_in_chosen: int = 0

    @property
    def n(self) -> int:
        return self.good + self.bad

    def add(self, kind: str, *, is_chosen: bool | None) -> None:
        """Count one mark. `is_chosen`: whether its answer was chosen; None where neither was."""
        setattr(self, kind, getattr(self, kind) + 1)
        if is_chosen is not None:
            setattr(self, f"{kind}_decided", getattr(self, f"{kind}_decided") + 1)
            setattr(self, f"{kind}_in_chosen", getattr(self, f"{kind}_in_chosen") + is_chosen)


@dataclass(frozen=True, slots=True)
class Marks:
    """`n_votes`: the current votes with a mark; `rows`: the most frequent reason first, without a reason last."""

    n_votes: int
    all: MarkCount
    rows: Sequence[MarkCount]

    def as_json(self) -> dict[str, Any]:
        return {"n_votes": self.n_votes, "reasons": [_numbers(row) for row in (*self.rows, self.all)]}


def _numbers(row: MarkCount) -> dict[str, Any]:
    names = ("reason", "good", "bad", "good_decided", "good_in_chosen", "bad_decided", "bad_in_chosen")
    return {name: getattr(row, name) for name in names}


def marks_of(project: Project, *, criterion: str = "", guideline: str = "") -> Marks:
    """Count the marks of the current votes by a criterion, of those under one guideline if it is named."""
    votes = votes_of(project, criterion, guideline).exclude(marks=[]).order_by()
    rows: dict[str, MarkCount] = {}
    whole, n_votes = MarkCount("(all)"), 0
    for marks, choice in votes.values_list("marks", "choice").iterator(chunk_size=AT_ONCE):
        n_votes += 1
        for mark in marks:
            is_chosen = mark["answer"] == choice if choice in OUTCOMES[:2] else None
            for row in (whole, rows.setdefault(mark["reason"], MarkCount(mark["reason"]))):
                row.add(mark["kind"], is_chosen=is_chosen)
    return Marks(n_votes, whole, sorted(rows.values(), key=lambda row: (not row.reason, -row.n, row.reason)))
