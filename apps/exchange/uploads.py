"""Files that people bring through the browser or the API: kept under a name of our own, looked at, imported, removed.

What the person called the file is shown, and its ending says which reader to try; neither names anything on disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop as _

from apps.accounts.models import User
from apps.exchange.models import Upload
from apps.exchange.reading import Survey, format_of, located_records, survey
from apps.exchange.services import import_file
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.projects.models import Project
from apps.prompts.models import ImportBatch
from prefloop.formats import Mapping
from prefloop.formats.columns import guess
from prefloop.formats.registry import columns_of
from prefloop.records import LineError, Record, RecordsError
from prefloop.types import PrefloopError

MAX_BYTES = 200 * 1024 * 1024  # through the browser or the API; the command takes any size
CHECKED_AT_ONCE = 16 * 1024 * 1024  # larger files are checked by the job that imports them
IMPORTED_AT_ONCE = 1024 * 1024
MAX_RECORDS = 1_000_000
SHOWN = 10
_PACKABLE = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*_PACKABLE, ".parquet", *(f"{suffix}.gz" for suffix in _PACKABLE))


class UploadRefused(PrefloopError):
    """A file that is not taken at all."""


class UploadTooLarge(UploadRefused):
    http_status = 413

    def __init__(self) -> None:
        limit = MAX_BYTES // (1024 * 1024)
        super().__init__(f"the file is larger than {limit} MB: import it on the server with manage.py import_records")


@dataclass(frozen=True, slots=True)
class MappedPart:
    """One part of a mapping and what it is set to; a value of the label column rather than a column is free text."""

    name: str
    word: str
    value: str

    @property
    def is_column(self) -> bool:
        return not self.name.endswith("_value")


_PARTS: tuple[tuple[str, str], ...] = (
    ("prompt", _("Prompt")),
    ("first", _("First answer")),
    ("second", _("Second answer")),
    ("label", _("Which is better")),
    ("first_value", _("… its value for the first")),
    ("second_value", _("… its value for the second")),
    ("chosen", _("Chosen answer")),
    ("rejected", _("Rejected answer")),
    ("rater", _("Who said so (a person)")),
    ("first_model", _("Model of the first")),
    ("second_model", _("Model of the second")),
    ("id", _("Id")),
)


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
    columns: tuple[str, ...] = ()  # of a table's first row
    mapping: Mapping = field(default_factory=Mapping)  # as it stands, or as guessed

    @property
    def parts(self) -> list[MappedPart]:
        """What can be mapped, in the order in which a person thinks of it."""
        return [MappedPart(name, word, getattr(self.mapping, name)) for name, word in _PARTS]

    @property
    def can_import(self) -> bool:
        return not self.errors and not self.problem


def suffix_of(name: str) -> str:
    """Give the ending that says how a file is read. Raises UploadRefused."""
    own = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    suffix = next((suffix for suffix in reversed(SUFFIXES) if own.endswith(suffix)), None)
    if suffix is None:
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


def upload_mapping(upload: Upload) -> Mapping | None:
    """Give the mapping that a person set; None where the file's format was recognised."""
    return Mapping(**upload.mapping) if upload.mapping else None


def upload_map(*, upload: Upload, mapping: Mapping | None) -> None:
    """Say which column holds what, or go back to the recognised format. Raises BadMapping."""
    if mapping is not None:
        mapping.check(columns_of(upload_path(upload)))
    upload.mapping = {} if mapping is None else asdict(mapping)
    upload.save(update_fields=["mapping"])


def upload_preview(upload: Upload) -> Preview:
    """Read a file's first records, and all of it where it is small enough: format, rows and problems by line."""
    path = upload_path(upload)
    mapping = upload_mapping(upload)
    try:
        columns = tuple(columns_of(path))
    except PrefloopError:
        columns = ()  # no table; format_of says what is wrong
    shown: dict[str, Any] = {"columns": columns, "mapping": mapping or guess(columns)}
    try:
        format_name = "table" if mapping else format_of(path, "auto")
    except PrefloopError as error:
        return Preview(problem=_shown(error, upload), **shown)
    first: list[Record] = []  # those before the first bad line, if there is one
    try:
        first.extend(located.record for located in islice(located_records(path, format_name, mapping), SHOWN))
        found = None
        if upload.n_bytes <= CHECKED_AT_ONCE:
            found = survey(path, format_name, project=upload.project, mapping=mapping, max_records=MAX_RECORDS)
    except RecordsError as error:
        return Preview(format_name, tuple(first), errors=error.errors, more_errors=error.stopped, **shown)
    except PrefloopError as error:
        return Preview(format_name, tuple(first), problem=_shown(error, upload), **shown)
    judges = tuple(sorted(name for name in found.judges if name)) if found else ()
    return Preview(format_name, tuple(first), survey=found, judges=judges, **shown)


def upload_import(*, upload: Upload, started_by: User, now: datetime) -> ImportBatch | Job:
    """Import a small file at once, a larger one as a job. A job that is there already is returned."""
    if upload.n_bytes <= IMPORTED_AT_ONCE:
        batch = import_file(
            project=upload.project,
            path=upload_path(upload),
            mapping=upload_mapping(upload),
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
