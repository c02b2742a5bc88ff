"""Ratings in JSON's types, people's and right ones, checked key by key."""

from __future__ import annotations

from typing import Any, get_args

from prefloop.records.fields import moment_of, name_of, number_of, object_of, text_of
from prefloop.records.form import GoldRating, InvalidRecord, RatingChoice, RecordRating
from prefloop.rubrics import BadRubric, Item, rubric_from_objects, values_checked

_CHOICES = get_args(RatingChoice)


def rating_read(value: object, at: str, n: int) -> RecordRating:
    row = object_of(value, at, "rater completion choice rubric values at seconds guideline reason")
    completion = _completion(row, at, n)
    choice = row.get("choice", "rated")
    if choice not in _CHOICES:
        raise InvalidRecord(f"{at}.choice is not one of {', '.join(map(repr, _CHOICES))}")
    rubric: tuple[Item, ...] = ()
    values: dict[str, int] = {}
    if choice == "rated":
        rubric, values = _values(row, at)
    elif row.get("rubric") or row.get("values"):
        raise InvalidRecord(f"{at} has values, but its choice is {choice!r}")
    return RecordRating(
        rater=name_of(row, "rater", at),
        completion=completion,
        choice=choice,
        rubric=rubric,
        values=tuple(values.items()),
        at=moment_of(row, at, "at"),
        seconds=number_of(row, "seconds", at, low=0.0, high=1e9),
        guideline=text_of(row, "guideline", at),
        reason=text_of(row, "reason", at),
    )


def gold_rating_read(value: object, at: str, n: int) -> GoldRating:
    row = object_of(value, at, "completion rubric values note practice")
    completion = _completion(row, at, n)
    rubric, values = _values(row, at)
    return GoldRating(completion, rubric, tuple(values.items()), **why_known(row, at))


def why_known(row: dict[str, Any], at: str) -> dict[str, Any]:
    """Read what gold says beside the right answer: its note, and whether people practise on it."""
    practice = row.get("practice", False)
    if type(practice) is not bool:
        raise InvalidRecord(f"{at}.practice is neither true nor false")
    return {"note": text_of(row, "note", at), "practice": practice}


def _completion(row: dict[str, Any], at: str, n: int) -> int:
    completion = row.get("completion")
    if type(completion) is not int or not 0 <= completion < n:
        raise InvalidRecord(f"{at}.completion is not one of the {n} completions")
    return completion


def _values(row: dict[str, Any], at: str) -> tuple[tuple[Item, ...], dict[str, int]]:
    try:
        rubric = rubric_from_objects(row.get("rubric"))
        given = row.get("values")
        return rubric, values_checked(rubric, given if isinstance(given, dict) else {})
    except BadRubric as error:
        raise InvalidRecord(f"{at}: {error}") from None
