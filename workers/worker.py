"""The worker: a consumer process that never imports torch, and children that do the work.

Children and not threads: a handler that is killed for lack of memory, or crashes in native code, only takes its child
with it; the consumer notices, returns the job and forks another. A child is kept for the worker's life, so that its
loaded models stay loaded (workers/model_cache.py).
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import structlog
from celery import signals
from django.conf import settings

from apps.jobs.identity import worker_name
from apps.jobs.models import Worker
from config.celery import app
from workers import bells, cards, processes, shutdown
from workers.feed import Feed

log = structlog.get_logger()
SLOTS = {"gpu": 1, "cpu": 2}


def run(*, queue: str, slots: int | None = None, gpus: Sequence[str] | None = None) -> None:
    """Serve a queue until SIGTERM or Ctrl-C, on these cards; None: on all of this machine, for a queue that uses any.

    Raises CardsRefused.
    """
    if gpus is not None or queue == "gpu":
        cards.own(gpus)
    os.environ["PREFLOOP_QUEUE"] = queue
    signals.worker_shutting_down.connect(_leave, weak=False)
    signals.worker_process_init.connect(_child_started, weak=False)
    app.steps["consumer"].add(Feed)
    # root in a container is normal, and nothing but JSON is accepted
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    name = worker_name(queue=queue)
    try:
        app.worker_main(
            [
                "-q",
                "worker",
                f"--queues={queue}",
                f"--concurrency={slots or SLOTS[queue]}",
                "--pool=prefork",
                f"--hostname={queue}-{os.getpid()}@%h",
                "--loglevel=WARNING",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
    finally:
        Worker.objects.filter(name=name).delete()


def _leave(**_: Any) -> None:
    """SIGTERM or Ctrl-C: tell the children, and kill those that do not leave within the grace period."""
    shutdown.request()

    def end() -> None:
        time.sleep(settings.WORKER_GRACE_SECONDS)
        log.error("worker_ended_without_its_job", grace_seconds=settings.WORKER_GRACE_SECONDS)
        os._exit(70)  # the children follow; the job goes back to the queue as its worker is gone

    threading.Thread(target=end, name="grace", daemon=True).start()


def _child_started(**_: Any) -> None:
    processes.die_with_parent()
    signal.signal(signal.SIGTERM, _child_told)


def _child_told(*_: Any) -> None:
    """For a service manager that signals every process: leave at the next `ctx.check()`, or now when idle."""
    shutdown.request()
    if not bells.busy:
        raise SystemExit(0)
