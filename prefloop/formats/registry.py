"""Which formats there are, and which one a path is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prefloop.formats import (
    alpaca_eval,
    arena,
    argilla,
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
from prefloop.formats.opening import open_raw
from prefloop.formats.rows import Row, first_row
from prefloop.records import Record, read_records
from prefloop.types import PrefloopError

Reader = Callable[[Path], Iterator[Record]]
TABLE = "table"  # any table, by a mapping of its columns


class UnknownFormat(PrefloopError):
    """A format that isn't known, or a path that is in none of them."""


def _read_records(path: Path) -> Iterator[Record]:
    with open_raw(path) as stream:
        yield from read_records(stream)


def _read_table(path: Path) -> Iterator[Record]:
    return read_table(path, None)


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
    ("trl", lambda row: row.get("prompt") is not None),
)


def read_file(path: str | Path, *, format_name: str = "auto", mapping: Mapping | None = None) -> Iterator[Record]:
    """Read records of a file or directory. Raises UnknownFormat, UnreadableFile, BadMapping or RecordsError.

    `mapping` belongs to the format `table`; without one its columns are guessed.
    """
    path = Path(path)
    name = detect_format(path) if format_name == "auto" else format_name
    if name not in READERS:
        raise UnknownFormat(f"unknown format {name!r}; known: auto, {', '.join(READERS)}")
    if not path.exists():
        raise UnknownFormat(f"{path}: no such file or directory")
    if path.is_dir() != (name in ("llmbar", "vicuna")):
        raise UnknownFormat(f"{path}: {name} is read from a {'file' if path.is_dir() else 'directory'}")
    return read_table(path, mapping) if name == TABLE else READERS[name](path)


def read_table(path: Path, mapping: Mapping | None) -> Iterator[Record]:
    """Read a table by a mapping, guessed where there is none. Raises BadMapping, RecordsError, UnreadableFile."""
    names = columns_of(path)
    mapping = mapping or columns.guess(names)
    mapping.check(names)
    return columns.read(path, mapping)


def columns_of(path: Path) -> list[str]:
    """Name the columns of a table by its first row. Raises UnknownFormat where none could be read."""
    row = first_row(path)
    if row is None:
        raise UnknownFormat(f"{path.name}: no row in it could be read (JSON Lines, JSON, CSV or Parquet)")
    return [str(name) for name in row]


def detect_format(path: str | Path) -> str:
    """Name the format of a path by what is in it. Raises UnknownFormat saying what was looked for."""
    path = Path(path)
    if not path.exists():
        raise UnknownFormat(f"{path}: no such file or directory")
    if path.is_dir():
        if llmbar.is_llmbar(path):
            return "llmbar"
        if vicuna.is_vicuna(path):
            return "vicuna"
        raise UnknownFormat(f"{path}: neither dataset.json (llmbar) nor question.jsonl and answer/ (vicuna) is in it")
    row = first_row(path)
    if row is None:
        raise UnknownFormat(f"{path.name}: no row in it could be read (JSON Lines, JSON, CSV or Parquet)")
    name = next((name for name, matches in _MATCHES if matches(row)), None)
    if name is None:
        raise UnknownFormat(
            f"{path.name}: no format has the keys {', '.join(map(str, row)) or '(none)'}; "
            "as a table, its columns can be mapped"
        )
    return name


def _is_mapped(mapping: Mapping, row: Row) -> bool:
    try:
        mapping.check([str(name) for name in row])
    except columns.BadMapping:
        return False
    return True
