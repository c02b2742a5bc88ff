"""Records out of a file, each with its place in it, checked against what the database can hold and already holds."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from apps.core.chunks import chunks
from apps.projects.models import Project
from apps.prompts.models import Prompt
from prefloop.formats import READERS, Mapping, detect_format, read_file
from prefloop.formats.opening import GZIP, UnreadableFile, raw_of
from prefloop.records import (
    InvalidRecord,
    LineError,
    PairIndex,
    Record,
    RecordsError,
    content_hash,
    read_again,
    read_hashed,
)
from prefloop.records.form import MAX_ERRORS
from prefloop.types import PrefloopError

MAX_RECORDS = 5_000_000
MAX_PAIRS = 20_000  # comparisons of one record: "all pairs" of a thousand answers is a mistake, not a wish
COLUMNS = {"judge": 120, "rater": 150, "model": 200, "guideline": 40}  # what the database holds
MAX_SAMPLE = 32_767
_ZIP = b"PK\x03\x04"
_CHUNK = 500
_KEPT_BYTES = 48_000_000  # records of a smaller file are kept between checking and writing, not read again


class CompressedFile(PrefloopError):
    """A compressed file that does not say so by its name, or in a form that is not unpacked here."""


class NothingToImport(PrefloopError):
    """A file without a single record."""


@dataclass(frozen=True, slots=True)
class Located:
    """A record and where it stands: a line of JSON Lines, else its number among the file's records."""

    number: int
    unit: str
    record: Record
    sha256: str  # of its canonical form


@dataclass(slots=True)
class Survey:
    """What reading the whole file told: how much there is, what is new, and how each judge was asked."""

    format: str
    sha256: str = ""
    n_new: int = 0
    n_unchanged: int = 0
    judges: dict[str, str] = field(default_factory=dict)  # name -> order policy that fits its verdicts
    lines: array[int] = field(default_factory=lambda: array("Q"))  # of a file of lines: where each record stands
    hashes: bytearray = field(default_factory=bytearray)  # of the records' canonical forms, 32 bytes each
    kept: list[Located] | None = None  # all records of a small file

    @property
    def n_records(self) -> int:
        return self.n_new + self.n_unchanged


def format_of(path: Path, format_name: str) -> str:
    """Name the format; `auto` looks. Raises UnknownFormat, UnreadableFile or CompressedFile."""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4)
        packed = path.suffix.lower() == ".gz"
        if head == _ZIP or head.startswith(GZIP) != packed:
            what = "ends in .gz and is no gzip file" if packed else "is compressed"
            raise CompressedFile(f"{path.name}: {what}; unpack it, or name a gzip file .jsonl.gz, .json.gz or .csv.gz")
    return detect_format(path) if format_name == "auto" else format_name


def located_records(path: Path, format_name: str, mapping: Mapping | None = None) -> Iterator[Located]:
    """Read records one by one. Raises RecordsError, UnreadableFile, UnknownFormat or BadMapping."""
    if format_name == "records" and path.is_file():
        with BufferedReader(raw_of(path), 1 << 20) as stream:
            for number, record, sha256 in read_hashed(stream):
                yield Located(number, "line", record, sha256)
        return
    for number, record in enumerate(read_file(path, format_name=format_name, mapping=mapping), start=1):
        yield Located(number, "record", record, content_hash(record))


def surveyed_records(path: Path, found: Survey, mapping: Mapping | None = None) -> Iterator[Located]:
    """Give the records of a file that was surveyed once more: what was checked and hashed then is not again."""
    if found.kept is not None:
        yield from found.kept
        return
    if not found.lines:
        yield from located_records(path, found.format, mapping)
        return
    with BufferedReader(raw_of(path), 1 << 20) as stream:
        for at, (number, record) in enumerate(read_again(stream, found.lines)):
            yield Located(number, "line", record, found.hashes[32 * at : 32 * at + 32].hex())


def survey(
    path: Path,
    format_name: str,
    *,
    project: Project,
    mapping: Mapping | None = None,
    on_record: Callable[[int], None] = lambda n: None,
    max_records: int = MAX_RECORDS,
) -> Survey:
    """Read the whole file and check every record, also against the project. Raises RecordsError with up to 50 lines."""
    found = Survey(format_name, sha256=sha256_of(path), kept=[] if _is_small(path) else None)
    errors: list[LineError] = []
    both: set[str] = set()
    waiting: list[Located] = []
    stopped = False
    n = 0
    try:
        for n, located in enumerate(located_records(path, format_name, mapping), start=1):
            refusal = unstorable(located.record)
            if refusal:
                errors.append(LineError(located.number, refusal, located.unit))
            _orders(located.record, found.judges, both)
            if located.unit == "line":
                found.lines.append(located.number)
                found.hashes += bytes.fromhex(located.sha256)
            if found.kept is not None:
                found.kept.append(located)
            waiting.append(located)
            if len(waiting) >= _CHUNK:
                errors += _against_project(project, waiting, found)
                waiting.clear()
            if n > max_records:
                raise UnreadableFile(f"{path.name}: has more than {max_records:,} records; import it in parts")
            stopped = len(errors) >= MAX_ERRORS
            if stopped:
                break
            on_record(n)
    except RecordsError as error:  # the file's own mistakes; those found here come before them
        errors += error.errors
        stopped = error.stopped
    errors += _against_project(project, waiting, found)
    if errors:
        raise RecordsError(sorted(errors, key=lambda error: error.line)[:MAX_ERRORS], stopped=stopped)
    if not found.n_records:
        raise NothingToImport(f"{path.name}: there is no record in it")
    found.judges |= dict.fromkeys(both, "both_agree")
    return found


def _is_small(path: Path) -> bool:
    """Say whether the records of a file may be kept: a compressed one does not say how much there is in it."""
    return path.is_file() and path.suffix.lower() not in (".gz", ".parquet") and path.stat().st_size <= _KEPT_BYTES


def unstorable(record: Record) -> str | None:
    """Say why the database can't hold a record; None where it can."""
    try:
        _check_columns(record)
    except InvalidRecord as error:
        return str(error)
    return None


def time_of(text: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is taken as UTC. Raises InvalidRecord outside of the years 1–9999."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRecord(f"{text!r} is not a time that can be kept") from None


def written_time(moment: datetime) -> str:
    """Write a time as the export does: UTC, ending in Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def named_pairs(record: Record) -> int:
    """Count the comparisons that the record will make, without making them."""
    named = {x.pair for rows in (record.gold, record.votes, record.verdicts, record.overrides) for x in rows}
    n = len(record.completions)
    return len(named) if named else n * (n - 1) // 2


def known_records(project: Project, ids: list[str]) -> dict[str, str]:
    """Give the content hash of each of these ids that the project has; "" where it was not imported."""
    known: dict[str, str] = {}
    for some in chunks(ids, _CHUNK):
        rows = Prompt.objects.filter(project=project, external_id__in=some)
        known |= dict(rows.values_list("external_id", "record_sha256"))
    return known


def _against_project(project: Project, waiting: list[Located], found: Survey) -> list[LineError]:
    known = known_records(project, [located.record.id for located in waiting])
    errors = []
    for located in waiting:
        before = known.get(located.record.id)
        if before is None:
            found.n_new += 1
        elif before == located.sha256:
            found.n_unchanged += 1
        else:
            reason = f"id {located.record.id!r} is in the project already, with other content"
            errors.append(LineError(located.number, reason, located.unit))
    return errors


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
    for i, verdict in enumerate(record.verdicts):
        _fits(verdict.judge, "judge", f"verdicts[{i}].judge")
        if verdict.sample > MAX_SAMPLE:
            raise InvalidRecord(f"verdicts[{i}].sample is above {MAX_SAMPLE:,}")
    for i, override in enumerate(record.overrides):
        _fits(override.rater, "rater", f"overrides[{i}].rater")
        _fits(override.judge, "judge", f"overrides[{i}].judge")
        if override.at:
            time_of(override.at)
    for i, score in enumerate(record.scores):
        _fits(score.judge, "judge", f"scores[{i}].judge")
    n = named_pairs(record)
    if n > MAX_PAIRS:
        raise InvalidRecord(f"has {n:,} comparisons, more than {MAX_PAIRS:,}: name the pairs that matter")


def _fits(value: str, column: str, at: str) -> None:
    if len(value) > COLUMNS[column]:
        raise InvalidRecord(f"{at} is longer than {COLUMNS[column]} characters")


def _orders(record: Record, judges: dict[str, str], both: set[str]) -> None:
    """Note who judged, and who was asked about one pair in both orders."""
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
