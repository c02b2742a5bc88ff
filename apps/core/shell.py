"""Counts that the page frame shows but that higher apps compute: they register a counter, the frame asks by name.

Names in use: `annotate` and `review` (open work of this person in a project), `jobs` (running jobs),
`notifications` (unread ones).
Register in `AppConfig.ready()`; a counter must be one cheap query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Counter = Callable[[Any, Any], int]  # (user, project or None) -> how many

_counters: dict[str, Counter] = {}


def register_count(name: str, counter: Counter) -> None:
    """Let `counter(user, project)` answer for `name`; registering a name again replaces the counter."""
    _counters[name] = counter


def count(name: str, *, user: Any, project: Any) -> int | None:
    """Ask the counter called `name`; None if no app has registered one."""
    counter = _counters.get(name)
    return None if counter is None else counter(user, project)
