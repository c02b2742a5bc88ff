"""Files that people bring through the browser or the API: kept under a name of our own, looked at, imported, removed.

What the person called the file is shown, and its ending says which reader to try; neither names anything on disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.db import transaction

from apps.accounts.models import User
from apps.exchange.models import Upload
from apps.exchange.reading import Survey, format_of, located_records, survey
from apps.exchange.services import import_file
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.projects.models import Project
from apps.prompts.models import ImportBatch
from prefloop.records import LineError, Record, RecordsError
from prefloop.types import PrefloopError

MAX_BYTES = 200 * 1024 * 1024  # through the browser or the API; the command takes any size
CHECKED_AT_ONCE = 16 * 1024 * 1024  # larger files are checked by the job that imports them
IMPORTED_AT_ONCE = 1024 * 1024
MAX_RECORDS = 1_000_000
SHOWN = 10
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


class UploadRefused(PrefloopError):
    """A file that is not taken at all."""


class UploadTooLarge(UploadRefused):
    http_status = 413

    def __init__(self) -> None:
        limit = MAX_BYTES // (1024 * 1024)
        super().__init__(f"the file is larger than {limit} MB: import it on the server with manage.py import_records")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file looks like before it is imported."""

    format: str = ""
    records: tuple[Record, ...] = ()
    errors: tuple[LineError, ...] = ()
    more_errors: bool = False  # reading stopped at the fiftieth
    problem: str = ""  # the file as a whole can't be read
    survey: Survey | None = None  # None: too large to be read whole at once
    judges: tuple[str, ...] = field(default=())

    @property
    def can_import(self) -> bool:
        return not self.errors and not self.problem


def suffix_of(name: str) -> str:
    """Give the ending that says how a file is read. Raises UploadRefused."""
    suffix = Path(name.replace("\\", "/").rsplit("/", 1)[-1]).suffix.lower()
    if suffix not in SUFFIXES:
        raise UploadRefused(f"the file's name ends in none of {', '.join(SUFFIXES)}")
    return suffix


def upload_path(upload: Upload) -> Path:
    return _folder() / upload.token


def upload_create(*, project: Project, name: str, chunks: Iterable[bytes], created_by: User) -> Upload:
    """Write a file's bytes under a random name. Raises UploadRefused or UploadTooLarge, and leaves nothing then."""
    token = secrets.token_urlsafe(24) + suffix_of(name)
    path = _folder() / token
    n_bytes = 0
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for chunk in chunks:
                n_bytes += len(chunk)
                if n_bytes > MAX_BYTES:
                    raise UploadTooLarge
                file.write(chunk)
        shown = name.replace("\\", "/").rsplit("/", 1)[-1][-200:]
        return Upload.objects.create(project=project, created_by=created_by, token=token, name=shown, n_bytes=n_bytes)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def upload_drop(*, upload: Upload) -> None:
    """Forget a file. One that is being imported stays until that is done."""
    upload_path(upload).unlink(missing_ok=True)
    upload.delete()


def upload_preview(upload: Upload) -> Preview:
    """Read a file's first records, and all of it where it is small enough: format, rows and problems by line."""
    path = upload_path(upload)
    try:
        format_name = format_of(path, "auto")
    except PrefloopError as error:
        return Preview(problem=_shown(error, upload))
    first: list[Record] = []  # those before the first bad line, if there is one
    try:
        first.extend(located.record for located in islice(located_records(path, format_name), SHOWN))
        found = None
        if upload.n_bytes <= CHECKED_AT_ONCE:
            found = survey(path, format_name, project=upload.project, max_records=MAX_RECORDS)
    except RecordsError as error:
        return Preview(format=format_name, records=tuple(first), errors=error.errors, more_errors=error.stopped)
    except PrefloopError as error:
        return Preview(format=format_name, records=tuple(first), problem=_shown(error, upload))
    judges = tuple(sorted(name for name in found.judges if name)) if found else ()
    return Preview(format=format_name, records=tuple(first), survey=found, judges=judges)


def upload_import(*, upload: Upload, started_by: User, now: datetime) -> ImportBatch | Job:
    """Import a small file at once, a larger one as a job. A job that is there already is returned."""
    if upload.n_bytes <= IMPORTED_AT_ONCE:
        batch = import_file(
            project=upload.project,
            path=upload_path(upload),
            name=upload.name,
            created_by=started_by,
            now=now,
            max_records=MAX_RECORDS,
        )
        upload_drop(upload=upload)
        return batch
    with transaction.atomic():
        job = job_enqueue(
            kind="exchange.import",
            queue="cpu",
            payload={"upload": upload.pk},
            project=upload.project,
            title=f"Import {upload.name}",
            unique_key=f"import:{upload.token}",
            started_by=started_by,
        )
        Upload.objects.filter(pk=upload.pk).update(job=job)
    return job


def upload_list(project: Project) -> list[Upload]:
    """Return files that are not imported yet, newest first."""
    waiting = Upload.objects.filter(project=project, batch__isnull=True).select_related("job", "created_by")
    return list(waiting.order_by("-id")[:20])


def _folder() -> Path:
    folder = Path(settings.VAR_DIR) / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _shown(error: PrefloopError, upload: Upload) -> str:
    """An error names the file as it lies on disk; people know it by their own name for it."""
    return str(error).replace(str(upload_path(upload)), upload.name).replace(upload.token, upload.name)
