"""The formats that can be read, and how the format of a path is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prefloop.formats import (
    alpaca_eval,
    arena,
    argilla,
    asking,
    columns,
    helpsteer,
    hh,
    label_studio,
    llmbar,
    sharegpt,
    trl,
    ultrafeedback,
    vicuna,
)
from prefloop.formats.columns import Mapping
from prefloop.formats.items import rows_to_records
from prefloop.formats.opening import suffix_of
from prefloop.formats.rows import SUFFIXES, Row, first_row, header_of, parts_of
from prefloop.formats.source import Notes, Source, open_utf8
from prefloop.records import InvalidRecord, Record, read_records
from prefloop.types import PrefloopError

Reader = Callable[[Source], Iterator[Record]]
TABLE = "table"  # any table, by a mapping of its columns


class UnknownFormat(PrefloopError):
    """A format that isn't known, or a path that is in no known format."""


def has_lines(path: Path) -> bool:
    """Whether a file holds one JSON object a line, as records are written; else they are rows of a list or a table."""
    if suffix_of(path) not in (".json", ".jsonl", ".ndjson"):
        return False
    with open_utf8(Source(path)) as stream:
        return stream.read(4096).lstrip()[:1] != b"["


def _read_records(source: Source) -> Iterator[Record]:
    if not has_lines(source.path):
        yield from rows_to_records(source, _own_record, prefix="record")
        return
    with open_utf8(source) as stream:
        yield from read_records(stream)


def _own_record(row: Row) -> Row:
    if row.get("id") is None:
        raise InvalidRecord("id is missing")
    return dict(row)


def _read_table(source: Source) -> Iterator[Record]:
    return read_table(source, None)


READERS: dict[str, Reader] = {
    "records": _read_records,
    "trl": trl.read,
    "hh": hh.read,
    "llmbar": llmbar.read,
    "vicuna": vicuna.read,
    "sharegpt": sharegpt.read,
    "ultrafeedback": ultrafeedback.read,
    "helpsteer": helpsteer.read_ratings,
    "helpsteer-pairs": helpsteer.read_preferences,
    "arena": arena.read_battles,
    "mt-bench": arena.read_mt_bench,
    "alpaca-eval": alpaca_eval.read,
    "label-studio": label_studio.read,
    "argilla": argilla.read,
    TABLE: _read_table,
}

DIRECTORIES: dict[str, Callable[[Path], bool]] = {"llmbar": llmbar.is_llmbar, "vicuna": vicuna.is_vicuna}

# In this order: what says most about itself first.
_MATCHES: tuple[tuple[str, Callable[[Row], bool]], ...] = (
    ("ultrafeedback", ultrafeedback.matches),
    ("records", lambda row: "completions" in row),
    ("label-studio", label_studio.matches),
    ("argilla", argilla.matches),
    ("mt-bench", arena.matches_mt_bench),
    ("arena", arena.matches_battles),
    ("alpaca-eval", alpaca_eval.matches),
    ("helpsteer", helpsteer.matches_ratings),
    ("helpsteer-pairs", helpsteer.matches_preferences),
    ("sharegpt", sharegpt.matches),
    ("hh", hh.matches),
    ("trl", trl.matches_answers),
    (TABLE, lambda row: _is_mapped(columns.guess(list(row)), row)),
    ("trl", lambda row: row.get(asking.asked_in(row, weak=False).question) is not None),
)


def read_file(
    path: str | Path, *, format_name: str = "auto", mapping: Mapping | None = None, notes: Notes | None = None
) -> Iterator[Record]:
    """Read records of a file or directory. Raises UnknownFormat, UnreadableFile, BadMapping or RecordsError.

    `mapping` belongs to the format `table`; without one its columns are guessed. `notes` counts what was left out.
    """
    path = Path(path)
    name = detect_format(path) if format_name == "auto" else format_name
    if name not in READERS:
        raise UnknownFormat(f"unknown format {name!r}; known: auto, {', '.join(READERS)}")
    if not path.exists():
        raise UnknownFormat(f"{path}: no such file or directory")
    if name in DIRECTORIES and not path.is_dir():
        raise UnknownFormat(f"{path}: {name} is read from a directory")
    if name not in DIRECTORIES and path.is_dir() and not parts_of(path):
        raise UnknownFormat(f"{path}: {name} is read from a file, or a directory of files of one kind")
    source = Source(path, mapping.encoding if mapping else "", Notes() if notes is None else notes)
    return read_table(source, mapping) if name == TABLE else READERS[name](source)


def read_table(source: Source, mapping: Mapping | None) -> Iterator[Record]:
    """Read a table by a mapping, guessed where there is none. Raises BadMapping, RecordsError, UnreadableFile."""
    names = _columns(source)
    named = mapping is not None and mapping.names_columns
    used = mapping if mapping is not None and named else columns.guess(names)
    used.check(names)
    return columns.read(source, used, named=named)


def columns_of(path: Path) -> list[str]:
    """Name the columns of a table by its first row. Raises UnknownFormat if none could be read."""
    return _columns(Source(path))


def _columns(source: Source) -> list[str]:
    return header_of(source) or [str(name) for name in _first(source)]


def _first(source: Source) -> Row:
    """Give the first row that could be read. Raises UnknownFormat saying why none could."""
    name = source.path.name
    first = first_row(source)
    if first is None:
        raise UnknownFormat(f"{name}: no row in it could be read (JSON Lines, JSON, CSV or Parquet)")
    if isinstance(first.row, str):
        raise UnknownFormat(f"{name}: no row in it could be read; {first.unit} {first.number}: {first.row}")
    return first.row


def detect_format(path: str | Path) -> str:
    """Name the format of a path by its content. Raises UnknownFormat listing what was tried."""
    path = Path(path)
    if not path.exists():
        raise UnknownFormat(f"{path}: no such file or directory")
    if path.is_dir():
        name = next((name for name, is_one in DIRECTORIES.items() if is_one(path)), None)
        if name is not None:
            return name
        if not parts_of(path):
            raise UnknownFormat(
                f"{path}: neither dataset.json (llmbar) nor question.jsonl and answer/ (vicuna) is in it, and its "
                f"files are not all of one kind ({', '.join(SUFFIXES)})"
            )
    row = _first(Source(path))
    name = next((name for name, matches in _MATCHES if matches(row)), None)
    if name is None:
        raise UnknownFormat(
            f"{path.name}: no format has the keys {', '.join(map(str, row))[:300] or '(none)'}; "
            "as a table, its columns can be mapped"
        )
    return name


def _is_mapped(mapping: Mapping, row: Row) -> bool:
    try:
        mapping.check([str(name) for name in row])
    except columns.BadMapping:
        return False
    return True
