"""Lists in pieces: SQLite allows a limited number of parameters per query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Return the items in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
