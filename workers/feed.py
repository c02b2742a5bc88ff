"""The worker's consumer steps: look at the table, notify itself, return lost jobs, write a heartbeat.

Every worker does this, with or without a broker. Without one it is how jobs are noticed at all (about 0.4 s after a
commit); with one it makes a flushed, duplicated or dead broker harmless.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state
from django.conf import settings
from django.db import DatabaseError, connection

from apps.jobs import selectors, services
from apps.jobs.clock import database_now
from apps.jobs.identity import host_name, worker_is_gone, worker_name
from apps.jobs.models import Worker
from apps.jobs.ticks import TICKS
from apps.jobs.wants import cards_owned
from workers import shutdown

log = structlog.get_logger()
LOOK_SECONDS = 0.3
LOOK_SECONDS_WITH_BROKER = 2.0
RING_SECONDS = 1.0  # between two bells of one worker
RECONCILE_SECONDS = 2.0
SIGN_SECONDS = 10.0
DEAF_SECONDS = 60.0  # a consumer that has not looped for so long is ended, to be started again


class Feed(bootsteps.StartStopStep):
    """Runs in the consumer's timer: with an event loop (Redis, RabbitMQ) its heartbeats prove that the loop is
    running.
    """

    requires = {"celery.worker.consumer.tasks:Tasks"}

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.queue = os.environ["PREFLOOP_QUEUE"]
        self.name = worker_name(queue=self.queue)
        self.looped = time.monotonic()
        self._rang = self._reconciled = self._signed = float("-inf")
        self._timer: Any = None
        self._watched = False

    def start(self, consumer: Any) -> None:
        every = LOOK_SECONDS_WITH_BROKER if settings.CELERY_BROKER_URL else LOOK_SECONDS
        self.looped = time.monotonic()
        self._timer = consumer.timer.call_repeatedly(every, self.look, (consumer,))
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name="deafness", daemon=True).start()

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()

    shutdown = stop

    def look(self, consumer: Any) -> None:
        """One turn. The connection is closed at the end, since the pool may fork a new child at any time."""
        self.looped = now = time.monotonic()
        try:
            if now - self._signed >= SIGN_SECONDS:
                self._signed = now
                sign_of_life(name=self.name, queue=self.queue)
            if now - self._reconciled >= RECONCILE_SECONDS:
                self._reconciled = now
                services.reconcile(host=host_name())
                TICKS.tell(database_now())
            idle = len(state.active_requests) < consumer.pool.num_processes and not shutdown.requested()
            if idle and now - self._rang >= RING_SECONDS and selectors.claimable([self.queue]):
                self._rang = now
                consumer.app.send_task("workers.run_queue", kwargs={"queue": self.queue}, queue=self.queue)
        except DatabaseError as error:
            log.warning("feed_waits_for_the_database", error=str(error))
        finally:
            connection.close()

    def _watch(self) -> None:
        while True:
            time.sleep(DEAF_SECONDS / 10)
            if time.monotonic() - self.looped > DEAF_SECONDS and not shutdown.requested():
                log.error("worker_deaf", queue=self.queue, seconds=DEAF_SECONDS)
                os._exit(75)  # EX_TEMPFAIL: `up`, systemd or compose starts it again


def sign_of_life(*, name: str, queue: str) -> None:
    """Write this worker's row, and delete the rows of this host's dead workers."""
    now = database_now()
    if not Worker.objects.filter(name=name).update(last_loop_at=now):
        for other in Worker.objects.filter(host=host_name()):
            if worker_is_gone(other.name):
                other.delete()
        Worker.objects.create(
            name=name,
            queue=queue,
            pid=os.getpid(),
            host=host_name(),
            cards=cards_owned(),
            started_at=now,
            last_loop_at=now,
        )
