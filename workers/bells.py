"""The Celery task of the doorbell: drain the queue."""

from __future__ import annotations

import structlog
from django.db import DatabaseError

from apps.jobs.drain import drain
from apps.jobs.identity import worker_name
from config.celery import app
from workers import shutdown

log = structlog.get_logger()
busy = False  # in a pool child: whether a drain is running now (a child does one thing at a time)


@app.task(name="workers.run_queue")  # type: ignore[untyped-decorator]
def run_queue(*, queue: str, **_: object) -> int:
    """Run claimable jobs. An extra message finds none; a lost one is replaced by the worker's feed."""
    global busy
    busy = True
    try:
        return drain([queue], worker_name=worker_name(queue=queue), stopping=shutdown.requested)
    except DatabaseError as error:
        log.warning("drain_ended", queue=queue, error=str(error))
        return 0
    finally:
        busy = False
