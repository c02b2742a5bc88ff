"""The doorbell: after a commit, tell a worker of the queue that there is something to claim.

The table is the queue, so an undelivered message loses nothing: every worker reads the table by itself. Without a
broker (the default) nothing is published at all.
"""

from __future__ import annotations

import time

import structlog
from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu.exceptions import KombuError

log = structlog.get_logger()
QUIET_SECONDS = 5.0  # after a broker failed, requests do not wait for it again for this long
_silent_until = 0.0


def ring_after_commit(*, queue: str) -> None:
    """Notify the workers once the current transaction is committed. Never fails the request."""
    if settings.CELERY_BROKER_URL:
        # a closure and not functools.partial: robust callbacks are reported by __qualname__
        transaction.on_commit(lambda: ring(queue=queue), robust=True)


def ring(*, queue: str) -> bool:
    """Publish one message; return whether the broker accepted it."""
    global _silent_until
    if time.monotonic() < _silent_until:
        return False
    try:
        current_app.send_task(
            "workers.run_queue",
            kwargs={"queue": queue},
            queue=queue,
            ignore_result=True,
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        )
    except (KombuError, OSError) as error:
        _silent_until = time.monotonic() + QUIET_SECONDS
        log.warning("doorbell_not_rung", queue=queue, error=str(error))
        return False
    return True
