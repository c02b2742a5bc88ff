"""How often something is sent again, and how long it waits before: webhooks and mails alike."""

from __future__ import annotations

from datetime import timedelta

MOST_ATTEMPTS = 10
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=6)  # each wait is three times the one before


def wait_after(n_failures: int) -> timedelta:
    """How long to wait after so many failures in a row: 10 s, 30 s, 90 s, … six hours."""
    factor: int = 3 ** min(n_failures - 1, 20)
    return min(FIRST_WAIT * factor, LONGEST_WAIT)
