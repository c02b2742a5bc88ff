"""Reading what people say beside a choice: how much better, short reasons; and the answers that they edited."""

from __future__ import annotations

from collections.abc import Sequence

from prefloop.reasons import BadReason, reasons_checked
from prefloop.records.form import InvalidRecord, RecordCompletion, VoteChoice
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
