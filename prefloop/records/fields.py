"""Fields of a record's rows, checked one by one. Every refusal names its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from prefloop.records.form import MAX_NAME, InvalidRecord
from prefloop.records.times import time_of, written_time

_Row = TypeVar("_Row")


def object_of(value: object, at: str, keys: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRecord(f"{at} is not an object")
    if value.keys() <= known_keys(keys):
        return value
    unknown = next(key for key in value if key not in known_keys(keys))
    where = f"{at} has" if at != "the line" else "has"
    raise InvalidRecord(f"{where} an unknown key {unknown[:80]!r} (known: {', '.join(keys.split())})")


@cache
def known_keys(keys: str) -> frozenset[str]:
    return frozenset(keys.split())


def rows_of(top: dict[str, Any], key: str, *, required: bool = False) -> list[tuple[object, str]]:
    rows = top.get(key)
    if rows is None:
        if required:
            raise InvalidRecord(f"{key} is missing")
        return []
    if not isinstance(rows, list):
        raise InvalidRecord(f"{key} is not a list")
    return [(row, place_of(key, i)) for i, row in enumerate(rows)]


@lru_cache(10_000)
def place_of(key: str, i: int) -> str:
    return f"{key}[{i}]"


def each_of(top: dict[str, Any], key: str, read: Callable[[object, str, int], _Row], n: int) -> tuple[_Row, ...]:
    """Read every row under a key; most keys of most records are absent, and cost nothing."""
    if top.get(key) is None:
        return ()
    return tuple([read(row, at, n) for row, at in rows_of(top, key)])


def text_of(row: dict[str, Any], key: str, at: str, *, required: bool = False) -> str:
    value = row.get(key)
    if type(value) is str:
        return value
    if value is None and not (required and key in row):
        if required:
            raise InvalidRecord(f"{joined(at, key)} is missing")
        return ""
    raise InvalidRecord(f"{joined(at, key)} is not a string")


def name_of(row: dict[str, Any], key: str, at: str) -> str:
    name = text_of(row, key, at, required=True)
    if not name.strip():
        raise InvalidRecord(f"{joined(at, key)} is empty")
    if len(name) > MAX_NAME:
        raise InvalidRecord(f"{joined(at, key)} is longer than {MAX_NAME} characters")
    return name


def joined(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def number_of(row: dict[str, Any], key: str, at: str, *, low: float, high: float) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InvalidRecord(f"{at}.{key} is not a number")
    if not low <= value <= high:
        raise InvalidRecord(f"{at}.{key} is not in [{low:g}, {high:g}]")
    return float(value)


def time_text(row: dict[str, Any], at: str, key: str = "at") -> str:
    value = text_of(row, key, at)
    if value:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRecord(f"{at}.{key} is not an ISO 8601 time") from None
    return value


def moment_of(row: dict[str, Any], at: str, key: str) -> str:
    """A time in the one spelling that the project writes."""
    value = time_text(row, at, key)
    return written_time(time_of(value)) if value else ""
