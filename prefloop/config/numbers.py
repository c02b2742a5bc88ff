"""Numbers that stand in the text of a setting."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite

from prefloop.config import ConfigError


def rising_numbers(text: str) -> tuple[float, ...]:
    """Read numbers separated by commas; nothing if they are not finite or do not rise."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()
    rising = all(isfinite(number) for number in numbers) and all(a < b for a, b in pairwise(numbers))
    return numbers if rising else ()


def whole_number(key: str, text: str, prefix: str) -> int:
    """Read the number behind a prefix, ≥ 1. Raises ConfigError."""
    digits = text.removeprefix(prefix)
    if not digits.isdecimal() or int(digits) < 1:
        raise ConfigError(f"{key} must be {prefix}N with a whole number N ≥ 1, not {text!r}")
    return int(digits)
