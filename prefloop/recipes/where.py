"""Filtering prompts by their metadata: `topic=maths and difficulty>=3`, read without executing anything.

Conditions joined by `and`. A condition is a key of the prompt's metadata (`source.page` looks inside an object), a
comparison (= != < <= > >=) and a value; after = or != several values may be separated by commas, and one match is
enough. Text with spaces or symbols is in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from prefloop.config import ConfigError

_KEY = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_SIGN = re.compile(r"<=|>=|!=|=|<|>")
_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s,"<>=!]+)')
_AND = re.compile(r"and\b", re.IGNORECASE)
_BLANK = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a metadata key."""

    key: str
    sign: str
    values: tuple[str, ...]

    def holds(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a prompt with this metadata meets it. A prompt without the key meets only !=."""
        found = _at(metadata, self.key)
        members = found if isinstance(found, list) else [] if found is None else [found]
        if self.sign in ("=", "!="):
            return any(_equal(one, value) for one in members for value in self.values) == (self.sign == "=")
        return any(_ordered(_number(one), self.sign, _number(self.values[0])) for one in members)


@dataclass(frozen=True, slots=True)
class Where:
    """All conditions must hold; without any, every prompt is chosen."""

    conditions: tuple[Condition, ...] = ()

    def holds(self, metadata: Mapping[str, Any]) -> bool:
        return all(condition.holds(metadata) for condition in self.conditions)


def read_where(text: str, *, key: str = "prompts.where") -> Where:
    """Read the conditions. Raises ConfigError, which names the position, and `key` as the setting."""
    found: list[Condition] = []
    at = _skip(text, 0)
    while at < len(text):
        if found:
            if not (joint := _AND.match(text, at)):
                raise _bad(text, at, "`and`", key)
            at = _skip(text, joint.end())
        condition, at = _condition(text, at, key)
        found.append(condition)
    return Where(tuple(found))


def _condition(text: str, at: int, key: str) -> tuple[Condition, int]:
    if not (name := _KEY.match(text, at)):
        raise _bad(text, at, "a metadata key", key)
    if not (sign := _SIGN.match(text, _skip(text, name.end()))):
        raise _bad(text, _skip(text, name.end()), "one of = != < <= > >=", key)
    values: list[str] = []
    at = sign.end()
    while not values or text.startswith(",", at):
        start = _skip(text, at + 1 if values else at)
        if not (value := _VALUE.match(text, start)):
            raise _bad(text, start, "a value", key)
        values.append(value[2] if value[1] is None else re.sub(r"\\(.)", r"\1", value[1]))
        at = _skip(text, value.end())
    if sign[0] not in ("=", "!=") and (len(values) > 1 or _number(values[0]) is None):
        raise _bad(text, _skip(text, sign.end()), f"one number after {sign[0]}", key)
    return Condition(name[0], sign[0], tuple(values)), at


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _bad(text: str, at: int, wanted: str, key: str) -> ConfigError:
    seen = f"at {text[at : at + 20]!r}" if at < len(text) else "at the end"
    return ConfigError(f"{key} must be like topic=maths and difficulty>=3: {wanted} is missing {seen} of {text[:80]!r}")


def _at(metadata: Mapping[str, Any], key: str) -> Any:
    """The value at a key: the key itself first, then step by step into objects."""
    if key in metadata:
        return metadata[key]
    found: Any = metadata
    for step in key.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _equal(found: Any, value: str) -> bool:
    if isinstance(found, bool):
        return str(found).lower() == value.lower()
    if found == value:
        return True
    number = _number(value)
    return number is not None and _number(found) == number


def _number(found: Any) -> float | None:
    """A number, or a text that is one, as in many imported tables."""
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        number = float(found)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _ordered(found: float | None, sign: str, limit: float | None) -> bool:
    if found is None or limit is None:
        return False
    return {"<": found < limit, "<=": found <= limit, ">": found > limit, ">=": found >= limit}[sign]
