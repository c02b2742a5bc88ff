"""Doing the same thing at the same time, each on a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection


def together(n: int, work: Callable[[], object]) -> list[Exception]:
    """Run `work()` in n threads that start together; return what went wrong."""
    barrier, troubles = threading.Barrier(n), []

    def run() -> None:
        try:
            barrier.wait()
            work()
        except Exception as error:  # noqa: BLE001 - the caller asserts what it may be
            troubles.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return troubles
