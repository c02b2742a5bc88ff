"""Reading what people say beside a choice: how much better, short reasons, marks; and the answers that they edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from prefloop.marks import BadMark, Mark, marks_checked
from prefloop.reasons import BadReason, reasons_checked
from prefloop.records.fields import object_of, text_of
from prefloop.records.form import InvalidRecord, PairIndex, RecordCompletion, VoteChoice
from prefloop.types import STRENGTHS, Strength


def parents_checked(completions: Sequence[RecordCompletion]) -> None:
    """Refuse an edited answer that does not come after the answer that it was made of."""
    for k, one in enumerate(completions):
        if one.parent is not None and one.parent >= k:
            raise InvalidRecord(f"completions[{k}].parent is not the index of an earlier completion")


def reasons_of(value: object, at: str) -> tuple[str, ...]:
    """Read the short reasons of a vote. Raises InvalidRecord."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(reason, str) for reason in value):
        raise InvalidRecord(f"{at}.reasons is not a list of texts")
    try:
        return reasons_checked(value)
    except BadReason as error:
        raise InvalidRecord(f"{at}.reasons: {error}") from None


def strength_of(value: object, at: str, choice: VoteChoice) -> Strength | None:
    """Read by how much the chosen answer is better. Raises InvalidRecord."""
    if value is None:
        return None
    if value not in STRENGTHS:
        raise InvalidRecord(f"{at}.strength is not one of {', '.join(map(repr, STRENGTHS))}")
    if choice not in (0, 1):
        raise InvalidRecord(f"{at} has a strength, but its choice names no better answer")
    return value


def marks_of(
    row: dict[str, Any], at: str, pair: PairIndex, completions: Sequence[RecordCompletion]
) -> tuple[Mark, ...]:
    """Read the passages that a vote marks in its two answers. Raises InvalidRecord.

    A mark may say what it marks (`text`); one that says something else was counted in other units, and is refused.
    """
    given = row.get("marks")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise InvalidRecord(f"{at}.marks is not a list")
    marks = []
    for i, value in enumerate(given):
        place = f"{at}.marks[{i}]"
        mark = object_of(value, place, "completion start end kind reason text")
        numbers = [mark.get(name) for name in ("completion", "start", "end")]
        if any(type(number) is not int for number in numbers):
            raise InvalidRecord(f"{place} needs completion, start and end, three whole numbers")
        answer, start, end = cast("list[int]", numbers)
        if answer not in pair:
            raise InvalidRecord(f"{place}.completion is not one of the vote's pair")
        kind, reason = text_of(mark, "kind", place, required=True), text_of(mark, "reason", place)
        marks.append(Mark(answer, start, end, kind, reason))
        said = mark.get("text")
        if said is not None and said != completions[answer].text[max(start, 0) : max(end, 0)]:
            raise InvalidRecord(f"{place}.text is not what the answer has there; offsets count Unicode code points")
    try:
        return marks_checked(marks, {key: completions[key].text for key in pair})
    except BadMark as error:
        raise InvalidRecord(f"{at}.marks: {error}") from None
