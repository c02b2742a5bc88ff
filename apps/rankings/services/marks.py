"""Marks in the answers of a pair, read from what a desk or a program says: by the side on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from apps.core.text import span_in_text
from apps.projects.selectors import Asks
from apps.rankings.models import Assignment
from prefloop.marks import BadMark, Mark, marks_checked, marks_stored

_WHOLE = {"side": str, "start": int, "end": int, "kind": str, "reason": str}


def marks_said(assignment: Assignment, rows: Sequence[Mapping[str, Any]]) -> tuple[Mark, ...]:
    """Read marks whose offsets count the answers as they are stored. `side`: left or right, as the person saw them."""
    at = {"left": 0, "right": 1} if assignment.order == "01" else {"left": 1, "right": 0}
    return tuple(Mark(at[row["side"]], row["start"], row["end"], row["kind"], row["reason"]) for row in rows)


def marks_on_screen(assignment: Assignment, said: str) -> tuple[Mark, ...]:
    """Read marks in JSON whose offsets count the answers as the desk shows their source (`visible_controls`).

    Raises BadMark for what is no list of marks.
    """
    if not said:
        return ()
    try:
        rows = orjson.loads(said)
    except orjson.JSONDecodeError:
        rows = None
    if not isinstance(rows, list) or not all(map(_is_whole, rows)):
        raise BadMark(f"marks are a list of objects with {', '.join(_WHOLE)}")
    texts = _texts(assignment)
    found = []
    for mark in marks_said(assignment, rows):
        start, end = span_in_text(texts[mark.answer], max(mark.start, 0), max(mark.end, 0))
        found.append(Mark(mark.answer, start, end, mark.kind, mark.reason))
    return tuple(found)


def _is_whole(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != _WHOLE.keys() or row["side"] not in ("left", "right"):
        return False
    return all(type(row[name]) is kind for name, kind in _WHOLE.items())


def marks_kept(assignment: Assignment, asks: Asks, guideline: str, marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Return marks as a vote keeps them. Raises BadMark where the guideline that the person read asks for none, has not
    the reason of one, or where they do not lie in the answers (`marks_checked`).
    """
    if not marks:
        return []
    if assignment.shown is not None:
        raise BadMark("this is a set of answers: passages are marked in the answers of a pair")
    if not asks.marks:
        raise BadMark(f"the guideline {guideline or '(none)'} does not ask for marks in the answers")
    unknown = sorted({mark.reason for mark in marks} - {"", *asks.reasons})
    if unknown:
        known = f"it has {', '.join(asks.reasons)}" if asks.reasons else "it has none"
        raise BadMark(f"the guideline {guideline} has no short reason {unknown[0][:60]!r}; {known}")
    return marks_stored(marks_checked(marks, _texts(assignment)))


def _texts(assignment: Assignment) -> dict[int, str]:
    comparison = assignment.comparison
    return {0: comparison.first.text, 1: comparison.second.text}
