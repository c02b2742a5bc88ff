"""Reading records from a file, each with its place, checked against the database's limits and its content."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from apps.core.chunks import chunks
from apps.exchange.merging import Addition, additions
from apps.labels.models import Judge
from apps.projects.models import Project
from apps.prompts.models import Prompt
from prefloop.formats import READERS, Mapping, Notes
from prefloop.formats.archives import is_archive, unpacked
from prefloop.formats.guarded import Located, Reading, limits_for
from prefloop.formats.opening import GZIP, UnreadableFile
from prefloop.records import (
    InvalidRecord,
    LineError,
    PairIndex,
    Record,
    RecordsError,
    n_comparisons,
    n_ranked,
    rated_pairs,
    time_of,
)
from prefloop.records.form import MAX_ERRORS, RecordOverride, RecordScore, RecordVerdict
from prefloop.types import UNLABELLED, PrefloopError

MAX_RECORDS = 5_000_000
MAX_PAIRS = 20_000  # comparisons of one record: "all pairs" of a thousand answers is a mistake, not a wish
MAX_RANKED = 100_000  # labels that follow from the rankings of one record
COLUMNS = {"judge": 120, "rater": 150, "model": 200, "guideline": 40}  # what the database holds
MAX_SAMPLE = 32_767
NO_LABEL = "records without labels: nothing in this file says which answer is better"
_ZIP = b"PK\x03\x04"
_CHUNK = 500
_KEPT_BYTES = 128_000_000  # of memory: the records of a smaller file are kept between checking and writing
_AT_ONCE = threading.BoundedSemaphore(2)  # files that one process has read at a time
_PATIENCE_SECONDS = 10.0


class CompressedFile(PrefloopError):
    """A compressed file whose name does not say so, or in a format that is not supported."""


class NothingToImport(PrefloopError):
    """A file without a single record."""


class ReadersBusy(PrefloopError):
    """The limit of files that are read at the same time is reached."""

    http_status = 503

    def __init__(self) -> None:
        super().__init__("other files are being read at the moment: try again soon")


@dataclass(slots=True)
class Survey:
    """The result of reading the whole file: how much there is, what is new, and in which orders each judge was
    asked.
    """

    format: str
    sha256: str = ""
    n_new: int = 0
    n_unchanged: int = 0
    additions: list[Addition] = field(default_factory=list)  # what is said beyond what the project has of a record
    speaking: set[str] = field(default_factory=set)  # the judges in what is new
    judges: dict[str, str] = field(default_factory=dict)  # name -> order policy that fits its verdicts
    by: dict[str, str] = field(default_factory=dict)  # judge's name -> the criterion that it judges by
    criteria: set[str] = field(default_factory=set)  # that anybody judges by, but for the unnamed one
    kept: list[Located] | None = None  # all records of a small file
    notes: Notes = field(default_factory=Notes)  # what was not read though it could matter
    n_labels: int = 0  # that say which of two answers is better, or that neither is
    n_scores: int = 0
    n_flags: int = 0

    @property
    def n_records(self) -> int:
        return self.n_new + self.n_unchanged + len(self.additions)

    @property
    def is_new(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.n_new or self.additions)


@contextmanager
def opened(
    path: Path, format_name: str = "auto", mapping: Mapping | None = None, *, name: str = ""
) -> Iterator[Reading]:
    """Open a file, directory or zip of unknown origin for reading, in a process with limits.

    `name` is what people call it. Raises CompressedFile, UnreadableFile or ReadersBusy.
    """
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4)
        packed = path.suffix.lower() == ".gz"
        if (head == _ZIP and not is_archive(path)) or head.startswith(GZIP) != packed:
            what = "ends in .gz but is not a gzip file" if packed else "is compressed"
            raise CompressedFile(
                f"{path.name}: {what}; unpack it, or name a gzip file .jsonl.gz, .json.gz or .csv.gz, a zip .zip"
            )
    if not _AT_ONCE.acquire(timeout=_PATIENCE_SECONDS):
        raise ReadersBusy
    try:
        with unpacked(path, name) as inside:
            limits = limits_for(inside, memory_mb=settings.READER_MEMORY_MB, seconds=settings.READER_SECONDS)
            with Reading(inside, format_name, mapping, limits=limits) as file:
                yield file
    finally:
        _AT_ONCE.release()


def surveyed_records(file: Reading, found: Survey) -> Iterator[Located]:
    """Read again the records of a file that was surveyed."""
    return iter(found.kept) if found.kept is not None else file.records()


def survey(
    file: Reading,
    *,
    project: Project | None,
    on_record: Callable[[int, Located], None] = lambda n, located: None,
    max_records: int = MAX_RECORDS,
    keep: bool = True,
) -> Survey:
    """Read the whole file and check every record, also against the project (None: one that will be created).

    Raises RecordsError with up to 50 lines.
    """
    found = Survey(file.format, sha256=sha256_of(file.path), kept=[] if keep else None)
    errors: list[LineError] = []
    both: set[str] = set()
    judges = Judge.objects.filter(project=project).order_by("version")
    theirs = dict(judges.values_list("name", "criterion_name"))
    waiting: list[Located] = []
    stopped = False
    n = n_bytes = 0
    try:
        for n, located in enumerate(file.records(), start=1):
            on_record(n, located)
            _orders(located.record, found.judges, both)
            refusal = unstorable(located.record) or _criteria(located.record, found, theirs)
            if refusal:
                errors.append(LineError(located.number, refusal, located.unit))
            found.n_labels += labels_in(located.record)
            n_flags = sum(score.flag for score in located.record.scores)
            found.n_flags += n_flags
            found.n_scores += len(located.record.scores) - n_flags
            n_bytes += located.n_bytes
            if n_bytes > _KEPT_BYTES:
                found.kept = None
            if found.kept is not None:
                found.kept.append(located)
            waiting.append(located)
            if len(waiting) >= _CHUNK:
                errors += _against_project(project, waiting, found)
                waiting.clear()
            if n > max_records:
                raise UnreadableFile(f"{file.path.name}: has more than {max_records:,} records; import it in parts")
            stopped = len(errors) >= MAX_ERRORS
            if stopped:
                break
    except RecordsError as error:  # the file's own mistakes; those found here come before them
        errors += error.errors
        stopped = error.stopped
    errors += _against_project(project, waiting, found)
    if errors:
        raise RecordsError(sorted(errors, key=lambda error: error.line)[:MAX_ERRORS], stopped=stopped)
    if not found.n_records:
        told = f" ({'; '.join(file.notes.lines)})" if file.notes else ""
        raise NothingToImport(f"{file.path.name}: there is no record in it{told}")
    found.notes = file.notes
    if not (found.n_labels or found.n_flags) and (found.notes or found.n_scores):
        found.notes[NO_LABEL] = found.n_records
    found.judges |= dict.fromkeys(both, "both_agree")
    return found


def unstorable(record: Record) -> str | None:
    """Say why the database can't store a record; None if it can."""
    try:
        _check_columns(record)
    except InvalidRecord as error:
        return str(error)
    return None


def labels_in(record: Record) -> int:
    """Count a record's labels on which answer is better; skips, “can't judge” and unreadable verdicts are none."""
    votes = sum(vote.choice not in UNLABELLED for vote in record.votes)
    verdicts = sum(verdict.state == "ok" for verdict in record.verdicts)
    said = len(record.gold) + votes + len(record.rankings) + verdicts + len(record.overrides)
    return said + len(rated_pairs(record))


def known_records(project: Project, ids: list[str]) -> dict[str, str]:
    """Return the content hash of each of these ids that the project has; "" if it was not imported."""
    known: dict[str, str] = {}
    for some in chunks(ids, _CHUNK):
        rows = Prompt.objects.filter(project=project, external_id__in=some)
        known |= dict(rows.values_list("external_id", "record_sha256"))
    return known


def _against_project(project: Project | None, waiting: list[Located], found: Survey) -> list[LineError]:
    """Sort records into new, known, and known with new labels; the errors are of refused ones."""
    known = known_records(project, [located.record.id for located in waiting]) if project is not None else {}
    again, errors = [], []
    for located in waiting:
        before = known.get(located.record.id)
        if before is None:
            found.n_new += 1
            found.speaking |= _judges_in(located.record)
        elif before == located.sha256:
            found.n_unchanged += 1
        else:
            again.append(located)
    merged = additions(project, [(one.record, one.sha256) for one in again]) if project is not None and again else []
    for located, one in zip(again, merged, strict=True):
        if isinstance(one, InvalidRecord):
            errors.append(LineError(located.number, str(one), located.unit))
        elif one.is_empty:
            found.n_unchanged += 1
        else:
            found.additions.append(one)
            found.speaking |= _judges_in(one.record)
    return errors


def _judges_in(record: Record) -> set[str]:
    said = {one.judge for rows in (record.verdicts, record.scores, record.overrides) for one in rows}
    return said | {one.judge for one in record.rankings if one.judge}


def _check_columns(record: Record) -> None:
    for i, completion in enumerate(record.completions):
        _fits(completion.model, "model", f"completions[{i}].model")
    for i, vote in enumerate(record.votes):
        _fits(vote.rater, "rater", f"votes[{i}].rater")
        _fits(vote.guideline, "guideline", f"votes[{i}].guideline")
        if vote.at:
            time_of(vote.at)
    for i, ranking in enumerate(record.rankings):
        _fits(ranking.rater, "rater", f"rankings[{i}].rater")
        _fits(ranking.judge, "judge", f"rankings[{i}].judge")
        _fits(ranking.guideline, "guideline", f"rankings[{i}].guideline")
    for i, rating in enumerate(record.ratings):
        _fits(rating.rater, "rater", f"ratings[{i}].rater")
        _fits(rating.guideline, "guideline", f"ratings[{i}].guideline")
    for i, verdict in enumerate(record.verdicts):
        _fits(verdict.judge, "judge", f"verdicts[{i}].judge")
        if verdict.sample > MAX_SAMPLE:
            raise InvalidRecord(f"verdicts[{i}].sample is above {MAX_SAMPLE:,}")
    for i, flag in enumerate(record.flags):
        _fits(flag.rater, "rater", f"flags[{i}].rater")
        _fits(flag.resolved_by, "rater", f"flags[{i}].resolved_by")
    for i, override in enumerate(record.overrides):
        _fits(override.rater, "rater", f"overrides[{i}].rater")
        _fits(override.judge, "judge", f"overrides[{i}].judge")
        if override.at:
            time_of(override.at)
    for i, score in enumerate(record.scores):
        _fits(score.judge, "judge", f"scores[{i}].judge")
    for what, rows in (("scores", record.scores), ("rankings", record.rankings), ("ratings", record.ratings)):
        if len(rows) > MAX_SAMPLE:
            raise InvalidRecord(f"{what} has more than {MAX_SAMPLE:,} entries")
    if n_ranked(record) > MAX_RANKED:
        raise InvalidRecord(
            f"has rankings and ratings that come to {n_ranked(record):,} labels, more than {MAX_RANKED:,}"
        )
    n = n_comparisons(record)
    if n > MAX_PAIRS:
        raise InvalidRecord(f"has {n:,} comparisons, more than {MAX_PAIRS:,}: name the pairs that matter")


def _fits(value: str, column: str, at: str) -> None:
    if len(value) > COLUMNS[column]:
        raise InvalidRecord(f"{at} is longer than {COLUMNS[column]} characters")


def _orders(record: Record, judges: dict[str, str], both: set[str]) -> None:
    """Record each judge, and which ones were asked about one pair in both orders."""
    asked: dict[tuple[str, PairIndex], PairIndex] = {}
    for verdict in record.verdicts:
        judges.setdefault(verdict.judge, "random")
        if asked.setdefault((verdict.judge, verdict.pair), verdict.order) != verdict.order:
            both.add(verdict.judge)
    for name in (*(r.judge for r in record.rankings), *(s.judge for s in record.scores)):
        if name:
            judges.setdefault(name, "random")
    for override in record.overrides:
        judges.setdefault(override.judge, "random")


def _criteria(record: Record, found: Survey, theirs: dict[str, str]) -> str | None:
    """Record the criteria; say why one is refused: a judge, also of the project (`theirs`), judges by one alone."""
    found.criteria |= {vote.criterion for vote in record.votes if vote.criterion}
    rows: tuple[tuple[RecordVerdict | RecordOverride | RecordScore, ...], ...]
    rows = (record.verdicts, record.overrides, record.scores)
    for name, criterion in {(one.judge, one.criterion): None for said in rows for one in said}:
        known = found.by.setdefault(name, theirs.get(name, criterion))
        if criterion != known:
            return f"judge {name!r} judges by criterion {known!r} and by {criterion!r}; give each a name of its own"
        if known:
            found.criteria.add(known)
    return None


def sha256_of(path: Path) -> str:
    """Hash a file, or the names and contents of a directory's files in order."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def formats() -> tuple[str, ...]:
    return tuple(READERS)
