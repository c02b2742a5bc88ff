"""A circuit breaker: after several failures in a row an endpoint is not called for a while, then tried once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from prefloop.judging.errors import JudgeUnreachable


class CircuitBreaker:
    """Closed, open for `rest_seconds` after `threshold` failures in a row, then half open: one call decides.

    Shared by the threads that call one endpoint. A failure is a whole call whose retries were used up.
    """

    def __init__(
        self, *, threshold: int = 5, rest_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threshold = threshold
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._n_failures = 0
        self._closed_until_at = 0.0  # no calls before this time
        self._trying = False

    def check(self, name: str) -> None:
        """Pass, or raise JudgeUnreachable at once while the circuit is open (or its one trial is under way)."""
        with self._lock:
            if self._n_failures < self._threshold:
                return
            left = self._closed_until_at - self._clock()
            if left > 0 or self._trying:
                raise JudgeUnreachable(
                    f"{name} failed {self._n_failures} times in a row; it is not asked again for now",
                    retry_after=max(left, 1.0),
                )
            self._trying = True

    def succeeded(self) -> None:
        with self._lock:
            self._n_failures = 0
            self._trying = False

    def failed(self) -> None:
        with self._lock:
            self._n_failures += 1
            self._trying = False
            self._closed_until_at = self._clock() + self._rest_seconds
