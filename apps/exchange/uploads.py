"""Files uploaded in the browser or through the API: stored under a random name, previewed, imported, removed.

The original name is shown, and its suffix decides which reader to try; neither is used as a name on disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from apps.accounts.models import User
from apps.core.store import uploads
from apps.exchange.models import Upload
from apps.exchange.reading import Survey, opened, survey
from apps.exchange.services import import_file
from apps.jobs.models import Job, Turn
from apps.jobs.services import job_enqueue
from apps.projects.models import Project
from apps.prompts.models import ImportBatch
from apps.quotas.services import ask, room
from prefloop.formats import Mapping
from prefloop.formats.columns import guess, is_column
from prefloop.formats.guarded import Located
from prefloop.records import LineError, Record, RecordsError
from prefloop.types import PrefloopError

MAX_BYTES = 200 * 1024 * 1024  # through the browser or the API; the command takes any size
CHECKED_AT_ONCE = 16 * 1024 * 1024  # larger files are checked by the job that imports them
IMPORTED_AT_ONCE = 1024 * 1024
MAX_RECORDS = 1_000_000
SHOWN = 10
SHOWN_COLUMNS = 200
SHOWN_NAME = 200  # characters of a column's name
_PACKABLE = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*_PACKABLE, ".parquet", ".zip", *(f"{suffix}.gz" for suffix in _PACKABLE))


class UploadRefused(PrefloopError):
    """A file that is not taken at all."""


class UploadTooLarge(UploadRefused):
    http_status = 413

    def __init__(self) -> None:
        limit = MAX_BYTES // (1024 * 1024)
        super().__init__(f"the file is larger than {limit} MB: import it on the server with manage.py import_records")


@dataclass(frozen=True, slots=True)
class MappedPart:
    """One part of a mapping and its value; a value of the label column, unlike a column, is free text."""

    name: str
    word: str
    value: str

    @property
    def is_column(self) -> bool:
        return is_column(self.name)


_PARTS: tuple[tuple[str, str], ...] = (
    ("prompt", _("Prompt")),
    ("input", _("… its input")),
    ("system", _("System turn")),
    ("history", _("Earlier turns")),
    ("first", _("First answer")),
    ("second", _("Second answer")),
    ("label", _("Which is better")),
    ("first_value", _("… its value for the first answer")),
    ("second_value", _("… its value for the second answer")),
    ("chosen", _("Chosen answer")),
    ("rejected", _("Rejected answer")),
    ("rater", _("Rater (a person)")),
    ("judge", _("Rater (a judge)")),
    ("first_model", _("Model of the first answer")),
    ("second_model", _("Model of the second answer")),
    ("id", _("Id")),
    ("encoding", _("Encoding, if not UTF-8")),
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
        """The parts that can be mapped, in a natural order."""
        return [MappedPart(name, word, getattr(self.mapping, name)) for name, word in _PARTS]

    @property
    def notes(self) -> list[str]:
        """What was left out although it could matter."""
        return self.survey.notes.lines if self.survey else []

    @property
    def can_import(self) -> bool:
        return not self.errors and not self.problem


def suffix_of(name: str) -> str:
    """Return the suffix that decides the reader. Raises UploadRefused."""
    own = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    suffix = next((suffix for suffix in reversed(SUFFIXES) if own.endswith(suffix)), None)
    if suffix is None:
        raise UploadRefused(f"the file's name ends in none of {', '.join(SUFFIXES)}")
    return suffix


def upload_path(upload: Upload) -> Path:
    """Return where a file lies on this machine, whether it is there or not."""
    return _folder() / upload.token


def upload_here(upload: Upload) -> Path:
    """Return a file's path on this machine, where it is brought if need be. Raises NotStored, StoreUnavailable."""
    return uploads().fetch(upload.token)


def upload_create(
    *, project: Project, name: str, chunks: Iterable[bytes], created_by: User, at_once: bool = False
) -> Upload:
    """Write a file's bytes under a random name. `at_once`: it is imported in this request, here.

    Raises UploadRefused, UploadTooLarge or QuotaReached, and leaves nothing then.
    """
    token = secrets.token_urlsafe(24) + suffix_of(name)
    path = _folder() / token
    n_bytes, left = 0, room("uploads", project_id=project.pk, person_id=created_by.pk)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for chunk in chunks:
                n_bytes += len(chunk)
                if n_bytes > MAX_BYTES:
                    raise UploadTooLarge
                if left is not None and n_bytes > left:
                    left = None  # room may have been made meanwhile: then the end of the file is asked about
                    with transaction.atomic():
                        room_for_file(project, created_by.pk, n_bytes)
                file.write(chunk)
        if not at_once:
            uploads().push(token)
        shown = name.replace("\\", "/").rsplit("/", 1)[-1][-200:]
        with transaction.atomic():
            room_for_file(project, created_by.pk, n_bytes)  # others may have come in meanwhile
            return Upload.objects.create(
                project=project, created_by=created_by, token=token, name=shown, n_bytes=n_bytes
            )
    except BaseException:
        upload_forget(token)
        raise


def waiting_files() -> QuerySet[Upload]:
    """The files that the quota `uploads` counts."""
    return Upload.objects.filter(batch__isnull=True)


def room_for_file(project: Project, person_id: int | None, n_bytes: int) -> None:
    """Ask for room for a file, in the transaction that makes or fills its row. Raises QuotaReached."""
    ask(project_id=project.pk, person_id=person_id, uploads=n_bytes)


def upload_drop(*, upload: Upload) -> None:
    """Remove a file. One that is being imported stays until that is done."""
    upload_forget(upload.token)
    upload.delete()


def upload_forget(token: str) -> None:
    """Remove a file's content, from the store too."""
    (_folder() / token).unlink(missing_ok=True)
    uploads().drop(token)


def upload_remove(*, upload: Upload) -> None:
    """Remove a file for a person. Raises UploadRefused while it is being fetched or imported."""
    if upload.job is not None and not upload.job.is_terminal:
        raise UploadRefused(gettext("This file is being imported. Cancel its job first."))
    upload_drop(upload=upload)


def upload_mapping(upload: Upload) -> Mapping | None:
    """Return the mapping that a person set; None if the file's format was detected."""
    return Mapping(**upload.mapping) if upload.mapping else None


def upload_map(*, upload: Upload, mapping: Mapping | None) -> None:
    """Set which column holds what, or go back to the detected format. Raises BadMapping, and what `opened` does."""
    if mapping is not None and mapping.names_columns:
        with opened(upload_here(upload), name=upload.name) as file:
            mapping.check(file.columns)
    upload.mapping = {} if mapping is None else asdict(mapping)
    upload.save(update_fields=["mapping"])


def upload_preview(upload: Upload) -> Preview:
    """Read a file's first records, and all of it where it is small enough: format, rows and problems by line."""
    mapping = upload_mapping(upload)
    first: list[Record] = []  # those before the first bad line, if there is one
    shown: dict[str, Any] = {}
    found = None

    def keep(n: int, located: Located) -> None:
        if n <= SHOWN:
            first.append(located.record)

    try:
        with opened(upload_here(upload), mapping=mapping, name=upload.name) as file:
            guessed = replace(guess(file.columns), encoding=mapping.encoding if mapping else "")
            if mapping is not None and mapping.names_columns:
                guessed = mapping
            shown |= {"columns": _shown_columns(file.columns, guessed), "mapping": guessed}
            shown["format"] = file.format
            if upload.n_bytes <= CHECKED_AT_ONCE:
                found = survey(file, project=upload.project, on_record=keep, max_records=MAX_RECORDS, keep=False)
            else:
                first.extend(located.record for located in islice(file.records(), SHOWN))
    except RecordsError as error:
        return Preview(records=tuple(first), errors=error.errors, more_errors=error.stopped, **shown)
    except PrefloopError as error:
        return Preview(records=tuple(first), problem=_shown(error, upload), **shown)
    judges = tuple(sorted(name for name in found.judges if name)) if found else ()
    return Preview(records=tuple(first), survey=found, judges=judges, **shown)


def _shown_columns(columns: list[str], mapping: Mapping) -> tuple[str, ...]:
    """The columns to show, as many as fit on a page; mapped ones are always included."""
    some = [name for name in columns if len(name) <= SHOWN_NAME][:SHOWN_COLUMNS]
    return tuple(dict.fromkeys([*some, *(name for name in mapping.columns if name in columns)]))


def upload_import(*, upload: Upload, started_by: User, now: datetime) -> ImportBatch | Job:
    """Import a small file at once, a larger one in a job. An existing job is returned."""
    if upload.n_bytes <= IMPORTED_AT_ONCE:
        batch = import_file(
            project=upload.project,
            path=upload_here(upload),
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
            turn=Turn.PERSON,
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
    folder = uploads().root
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _shown(error: PrefloopError, upload: Upload) -> str:
    """Errors name the file as it is on disk; people know it by their own name."""
    return str(error).replace(str(upload_path(upload)), upload.name).replace(upload.token, upload.name)
