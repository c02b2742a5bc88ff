"""Passages of an answer that somebody marked as good or bad while comparing it: what a list of such marks may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from prefloop.reasons import BadReason, reasons_checked
from prefloop.types import PrefloopError

KINDS = ("good", "bad")
MOST = 40  # marks of one person in the answers of a pair
_ANSWERS = ("first", "second")  # how marks that are stored name the answers of their pair


class BadMark(PrefloopError):
    """A mark, or a list of them, that can't be kept."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The characters from `start` up to, not including, `end` of an answer's text, as it is stored.

    Characters are Unicode code points, as Python counts them. `answer` is the answer's place: in a vote 0 or 1, of the
    pair as it is stored; in a record the index of the completion. `reason`: a short one, or "".
    """

    answer: int
    start: int
    end: int
    kind: str
    reason: str = ""


def marks_checked(marks: Sequence[Mark], texts: Mapping[int, str]) -> tuple[Mark, ...]:
    """Return marks in the order of the texts. `texts`: those of the answers that may have marks.

    Raises BadMark for too many, for one that does not lie in its text or holds blanks alone, and for two that overlap.
    """
    if len(marks) > MOST:
        raise BadMark(f"there are at most {MOST} marks in the answers of a pair, not {len(marks)}")
    for mark in marks:
        _check(mark, texts.get(mark.answer))
    found = sorted(marks, key=lambda mark: (mark.answer, mark.start))
    for one, after in pairwise(found):
        if one.answer == after.answer and after.start < one.end:
            raise BadMark(f"the marks {one.start} to {one.end} and {after.start} to {after.end} of one answer overlap")
    return tuple(found)


def _check(mark: Mark, text: str | None) -> None:
    if mark.kind not in KINDS:
        raise BadMark(f"a mark is one of {', '.join(KINDS)}, not {mark.kind[:60]!r}")
    if text is None:
        raise BadMark("a mark is of one of the two answers of its pair")
    where = f"the mark {mark.start} to {mark.end}"
    if not 0 <= mark.start < mark.end <= len(text):
        raise BadMark(f"{where} does not lie in the answer, which has {len(text)} characters")
    if not text[mark.start : mark.end].strip():
        raise BadMark(f"{where} holds nothing but blanks")
    if mark.reason:
        try:
            (reason,) = reasons_checked([mark.reason])
        except BadReason as error:
            raise BadMark(f"{where}: {error}") from None
        if reason != mark.reason:
            raise BadMark(f"{where}: its reason has blanks around it")


def marks_stored(marks: Iterable[Mark]) -> list[dict[str, Any]]:
    """Return the marks of a vote in JSON's types, as its row keeps them."""
    return [
        {"answer": _ANSWERS[one.answer], "start": one.start, "end": one.end, "kind": one.kind, "reason": one.reason}
        for one in marks
    ]


def marks_loaded(rows: Iterable[Mapping[str, Any]]) -> tuple[Mark, ...]:
    """Read marks as `marks_stored` wrote them."""
    return tuple(
        Mark(_ANSWERS.index(row["answer"]), row["start"], row["end"], row["kind"], row["reason"]) for row in rows
    )
