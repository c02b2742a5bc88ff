"""The thread that renews a job's lease while its handler works, on its own database connection."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from apps.jobs import services
from apps.jobs.models import Job

log = structlog.get_logger()
BEATS_PER_LEASE = 6  # 15 s for a lease of 90 s


class Heartbeat:
    """Renews the lease every sixth of its length. `fenced` and `cancelled` are what it found; they are never unset."""

    def __init__(self, *, job_id: int, token: UUID) -> None:
        self.job_id = job_id
        self.token = token
        self.fenced = threading.Event()
        self.cancelled = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{job_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        # inside a caller's transaction no other connection sees the claim: a heartbeat would find the job taken away
        if not connection.in_atomic_block:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    def look(self) -> None:
        """Read once on the caller's own connection, for a handler that asks between two heartbeats."""
        row = Job.objects.filter(pk=self.job_id, token=self.token).values_list("cancel_requested_at").first()
        if row is None:
            self.fenced.set()
        elif row[0] is not None:
            self.cancelled.set()

    def _run(self) -> None:
        seconds = float(settings.JOB_LEASE_SECONDS)
        last = time.monotonic()
        try:
            while not self._stop.wait(seconds / BEATS_PER_LEASE):
                try:
                    held, cancelled = services.job_heartbeat(job_id=self.job_id, token=self.token)
                except DatabaseError as error:
                    # the database may be restarting; the lease says for how long we may hope
                    connection.close()
                    log.warning("heartbeat_failed", job=self.job_id, error=str(error))
                    if time.monotonic() - last > seconds:
                        self.fenced.set()
                        return
                    continue
                last = time.monotonic()
                if cancelled:
                    self.cancelled.set()
                if not held:
                    self.fenced.set()
                    return
        finally:
            connection.close()
