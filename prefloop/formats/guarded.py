"""Read a file of unknown origin in a process with limits (`prefloop.confined`): its columns, its format, its records.

The process returns canonical JSON, one record after another, bounded in size and number of values, and it is read here
again like any record. Limits grow with the size of the file.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefloop import confined
from prefloop.confined import Limits
from prefloop.formats.columns import Mapping
from prefloop.formats.opening import unpacked_limit
from prefloop.formats.registry import columns_of, detect_format, has_lines, read_file
from prefloop.formats.source import Notes, Source, open_utf8
from prefloop.records import (
    InvalidRecord,
    LineError,
    Record,
    RecordsError,
    hash_of,
    parse_line,
    read_written,
    write_record,
)
from prefloop.records.form import MAX_LINE_BYTES
from prefloop.records.values import refuse_many_values
from prefloop.types import PrefloopError

MEMORY_MB = 1_024
SECONDS = 10
_PLACE = struct.Struct(">Q6s32s")  # number, unit, hash of the canonical form
_MB = 1 << 20
_MAX_NOTES = 1_000  # kinds of what was not read
_MAX_TEXT = 1_000  # characters of an error; some name what they found
_COMPRESSED = (".gz", ".parquet", ".zip")


@dataclass(frozen=True, slots=True)
class Located:
    """A record and its place: a line of JSON Lines, else its number among the file's records."""

    number: int
    unit: str
    record: Record
    sha256: str  # of its canonical form
    n_bytes: int = 0  # that it takes in memory, about


def limits_for(path: Path, *, memory_mb: int = MEMORY_MB, seconds: int = SECONDS) -> Limits:
    """Give the limits for reading a file or directory: those of a small one, and more for each megabyte."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path] if path.is_file() else []
    size = sum(file.stat().st_size for file in files)
    whole = sum(unpacked_limit(f) if f.suffix.lower() in _COMPRESSED else f.stat().st_size for f in files)
    return Limits(
        memory_mb=memory_mb + size // _MB // 4,
        cpu_seconds=seconds + size // _MB,
        wait_seconds=3.0 * (seconds + size // _MB),
        output_bytes=64 * _MB + 4 * whole,
    )


class Reading:
    """A file, read from its start each time `records` is called. Close it: a process may be waiting.

    `format_name` may be "auto"; a mapping reads any table.
    """

    def __init__(
        self, path: Path, format_name: str = "auto", mapping: Mapping | None = None, *, limits: Limits | None = None
    ) -> None:
        self.path = path
        self._asked = format_name
        self._mapping = mapping
        self._limits = limits or limits_for(path)
        self._frames: Iterator[Any] | None = None
        self._columns: list[str] | None = None
        self._format = ""
        self.notes = Notes()  # what was not read though it could matter; known when the records were read to their end

    @property
    def columns(self) -> list[str]:
        """Names of a table's columns; none where no row could be read. Raises LimitExceeded or ReaderFailed."""
        if self._columns is None:
            self._start()
            self._columns = next(self._frames or iter(()))
        return self._columns or []

    @property
    def format(self) -> str:
        """The format's name. Raises UnknownFormat, UnreadableFile and what `columns` does."""
        if not self._format:
            _ = self.columns
            self._format = str(next(self._frames or iter(())))
        return self._format

    def records(self) -> Iterator[Located]:
        """Give the records one by one. Raises RecordsError, UnreadableFile, BadMapping and what `format` does."""
        if self._frames is None:
            self._columns, self._format = None, ""
        _ = self.format
        frames, self._frames = self._frames, None
        for frame in frames or ():
            if isinstance(frame, dict) and "notes" in frame:
                self.notes = Notes(frame["notes"])
                continue
            if isinstance(frame, dict):
                errors = [LineError(**error) for error in frame["errors"]]
                raise RecordsError(errors, stopped=frame["stopped"])
            yield _located(frame)

    def close(self) -> None:
        """End the process, if there is one."""
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()  # type: ignore[attr-defined]

    def _start(self) -> None:
        paths = self.path.iterdir() if self.path.is_dir() else [self.path]
        imports = ["pyarrow.parquet"] if any(path.suffix.lower() == ".parquet" for path in paths) else []
        mapping = asdict(self._mapping) if self._mapping else None
        arguments = (str(self.path.absolute()), self._asked, mapping)
        self._frames = confined.stream(written, *arguments, limits=self._limits, what=self.path.name, imports=imports)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _located(frame: bytes) -> Located:
    number, unit, sha256 = _PLACE.unpack_from(frame)
    line = frame[_PLACE.size :]
    n_bytes = len(line) + 100 * line.count(b",")
    return Located(number, unit.rstrip(b"\0").decode(), parse_line(line), sha256.hex(), n_bytes)


def written(path: str, format_name: str, mapping: dict[str, str] | None) -> Iterator[Any]:
    """Runs in the process: gives the columns, the format's name, then each record with its place, or errors."""
    gc.disable()  # millions of objects and no cycles
    file = Path(path)
    try:
        yield [str(name) for name in columns_of(file)]
    except PrefloopError:
        yield []  # no table; the format's name says what is wrong
    name = "table" if mapping else detect_format(file) if format_name == "auto" else format_name
    yield name
    number, unit, notes = 0, "record", Notes()
    try:
        for number, unit, line, digest in _lines(file, name, Mapping(**mapping) if mapping else None, notes):
            if len(line) > MAX_LINE_BYTES:
                raise InvalidRecord(f"is longer than {MAX_LINE_BYTES:,} bytes")
            refuse_many_values(line)
            yield _PLACE.pack(number, unit.encode(), bytes.fromhex(digest)) + line
        yield {"notes": {text[:_MAX_TEXT]: n for text, n in list(notes.items())[:_MAX_NOTES]}}
    except InvalidRecord as error:
        yield {"errors": [asdict(LineError(number, str(error), unit))], "stopped": True}
    except RecordsError as error:
        errors = [asdict(LineError(e.line, e.message[:_MAX_TEXT], e.unit)) for e in error.errors]
        yield {"errors": errors, "stopped": error.stopped}


def _lines(path: Path, name: str, mapping: Mapping | None, notes: Notes) -> Iterator[tuple[int, str, bytes, str]]:
    """Number, unit, canonical line and hash of each record; exact repeats of an id are passed over."""
    if name == "records" and path.is_file() and has_lines(path):
        with open_utf8(Source(path)) as stream:
            for number, _, line, digest in read_written(stream):
                yield number, "line", line, digest
        return
    seen: dict[str, bytes] = {}
    for number, record in enumerate(read_file(path, format_name=name, mapping=mapping, notes=notes), start=1):
        line = write_record(record)
        digest = hash_of(line)
        before = seen.setdefault(record.id, bytes.fromhex(digest) + number.to_bytes(8))
        at = int.from_bytes(before[32:])
        if at == number:
            yield number, "record", line, digest
        elif before[:32].hex() != digest:
            reason = f"id {record.id!r} is that of record {at}, with other content"
            raise RecordsError([LineError(number, reason, "record")])
