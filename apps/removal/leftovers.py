"""What deletions, and uploads that were killed, leave behind where machines share a store, and removing it.

A deletion drops the names of what it deletes at once. Their contents, which others may share, go when nothing needs
them and they are a day old; what lies in the caches of other machines goes when a worker there hears of it, or by
`manage.py store clear`.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time

import structlog
from django.conf import settings

from apps.core.store import models, uploads, weights
from apps.exchange.uploads import waiting_files
from apps.jobs.clock import database_now
from apps.jobs.models import Job, JobState, Turn
from apps.jobs.services import job_enqueue
from apps.policies.models import Checkpoint
from apps.policies.store import UPLOADS
from apps.projects.models import Project
from apps.removal.services import KEYS
from apps.training.models import Snapshot, TrainingRun
from prefloop import store
from prefloop.types import PrefloopError

log = structlog.get_logger()
JOB = "removal.sweep"
LOOK_SECONDS = 60.0


class WrongDatabase(PrefloopError):
    """The database names nothing of what the store has."""


def leftovers_remove() -> None:
    """Remove what a deletion has left in the store and on this machine, now and, where it is too young, in a day."""
    if weights().remote is None:
        return
    cache_clear()
    weights().sweep()
    due = (database_now() + store.OLD + dt.timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    job_enqueue(
        kind=JOB,
        turn=Turn.SOON,
        queue="cpu",
        payload={},
        title="Remove contents that nothing needs",
        run_after=due,
        unique_key=f"store-sweep:{due:%Y-%m-%d-%H}",  # one for all deletions of an hour
    )


def cache_clear() -> int:
    """Remove from this machine what the store has dropped; return how many artifacts. Raises StoreUnavailable."""
    return sum(part.clear() for part in (weights(), uploads(), models()))


def names_sweep(*, older_than: dt.timedelta | None = None) -> int:
    """Drop names that nothing in the database refers to, which killed uploads leave; return how many.

    Younger ones stay: whoever stores something names it in the database afterwards. Raises WrongDatabase, and has
    dropped nothing then, and StoreUnavailable.
    """
    before = dt.datetime.now(dt.UTC) - (store.OLD if older_than is None else older_than)
    # what is stored is listed before what is needed: of what comes between, both or neither is seen
    stored = {part: list(part.names()) for part in (weights(), uploads(), models())}
    needed = {
        weights(): {
            *Checkpoint.objects.values_list("path", "fingerprint"),
            *Snapshot.objects.values_list("path", "sha256"),
            *TrainingRun.objects.exclude(run_dir="").values_list("run_dir", "stored_version"),
        },
        uploads(): {(token, "") for token in waiting_files().values_list("token", flat=True)},
        models(): {
            (name, version)
            for slug in Project.objects.values_list("slug", flat=True)
            for name, version in stored[models()]
            if name.startswith(f"projects/{slug}/{UPLOADS}/")
        },
    }
    if any(stored.values()) and not any(needed[part] & set(names) for part, names in stored.items()):
        raise WrongDatabase(
            "the database names nothing of what the store has: DATABASE_URL or PREFLOOP_STORE is that of another "
            "installation, or a backup has still to be restored"
        )
    n = 0
    for part, names in stored.items():
        for name, version in set(names) - needed[part]:
            written = part.named_at(name, version)
            if written is not None and written <= before:
                part.drop(name, version)
                n += 1
    return n


class _Clearing:
    """The process that clears this machine's cache. The worker itself forks, so it opens no connection to the store."""

    process: subprocess.Popen[bytes] | None = None
    looked_at = float("-inf")
    heard = -1  # the last deletion after which the cache was cleared


def caches_clear_start(now: dt.datetime) -> None:
    """Clear this machine's cache after each deletion, also those that ended while no worker ran here."""
    if weights().remote is None or time.monotonic() - _Clearing.looked_at < LOOK_SECONDS:
        return
    if _Clearing.process is not None and _Clearing.process.poll() is None:
        return
    if _Clearing.process is not None and _Clearing.process.returncode:
        log.warning("cache_not_cleared", status=_Clearing.process.returncode)
        _Clearing.heard = -1
    _Clearing.process, _Clearing.looked_at = None, time.monotonic()
    ended = Job.objects.filter(unique_key__startswith=KEYS, state=JobState.SUCCEEDED)
    last = ended.order_by("-id").values_list("pk", flat=True).first()
    if last is not None and last > _Clearing.heard:
        _Clearing.heard = last
        _Clearing.process = subprocess.Popen(
            [sys.executable, "manage.py", "store", "clear"], cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL
        )
