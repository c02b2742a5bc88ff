"""How fast a job goes, from its own reports: seconds a step, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

SETTLED_SECONDS = 2.0  # what a phase did in its first moments says nothing


class Pace:
    """Seconds a step in the phase under way. A phase begins with another number of steps, or with an earlier step."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._n_steps: int | None = None
        self._first = self._last = 0
        self._began = self._moved = 0.0

    def report(self, step: int, n_steps: int) -> float | None:
        """Take a report in; return the seconds a step, or None where nothing can be said yet."""
        now = self._now()
        if n_steps != self._n_steps or step < self._last:
            self._n_steps, self._first, self._last = n_steps, step, step
            self._began = self._moved = now
        elif step > self._last:
            self._last, self._moved = step, now
        done, seconds = self._last - self._first, self._moved - self._began
        return seconds / done if done and seconds >= SETTLED_SECONDS else None


def pace_words(each: float | None, n_left: int) -> str:
    """Say the pace and the time left: "2.4/s, about 3 min left", "42 s each, about 5 min left"; "" for no pace."""
    if not each or n_left <= 0:
        return ""
    return f"{rate_words(each)}, about {length_words(n_left * each)} left"


def rate_words(each: float) -> str:
    """Write seconds a step: "8.0/s" where a step takes less than a second, else "2.5 s each"."""
    return f"{1 / each:.1f}/s" if each < 1 else f"{each:.1f} s each" if each < 10 else f"{each:.0f} s each"


def length_words(seconds: float) -> str:
    """Write a length of time roughly, for a line of text: "8 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
