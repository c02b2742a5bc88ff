"""One import into a project at a time, across processes: the holder of the lock knows that unfinished batches are dead.

PostgreSQL: a session's advisory lock, released when the process is killed. SQLite: a locked file, released as well.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from apps.projects.models import Project
from prefloop.types import PrefloopError

_SPACE = 0x70726566  # "pref": apart from other advisory locks of this database


class ImportBusy(PrefloopError):
    """Another import into this project is running."""

    http_status = 409


@contextmanager
def import_lock(project: Project) -> Iterator[None]:
    """Hold the project's import lock. Raises ImportBusy if somebody else has it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_SPACE, project.pk % 2**31])
            row = cursor.fetchone()
        if row is None or not row[0]:
            raise _busy(project)
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_SPACE, project.pk % 2**31])
        return
    folder = settings.VAR_DIR / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / f"import-{project.pk}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(project) from None
        yield  # closing the file lets go


def _busy(project: Project) -> ImportBusy:
    return ImportBusy(f"another import into {project.slug} is running: wait until it has finished")
