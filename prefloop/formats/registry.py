"""Which formats there are, and which one a path is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prefloop.formats import hh, llmbar, sharegpt, trl, vicuna
from prefloop.formats.rows import first_row
from prefloop.records import Record, read_records
from prefloop.types import PrefloopError

Reader = Callable[[Path], Iterator[Record]]


class UnknownFormat(PrefloopError):
    """A format that isn't known, or a path that is in none of them."""


def _read_records(path: Path) -> Iterator[Record]:
    with path.open("rb") as stream:
        yield from read_records(stream)


READERS: dict[str, Reader] = {
    "records": _read_records,
    "trl": trl.read,
    "hh": hh.read,
    "llmbar": llmbar.read,
    "vicuna": vicuna.read,
    "sharegpt": sharegpt.read,
}


def read_file(path: str | Path, *, format_name: str = "auto") -> Iterator[Record]:
    """Read records of a file or directory. Raises UnknownFormat, UnreadableFile or RecordsError, each one line."""
    path = Path(path)
    name = detect_format(path) if format_name == "auto" else format_name
    if name not in READERS:
        raise UnknownFormat(f"unknown format {name!r}; known: auto, {', '.join(READERS)}")
    if not path.exists():
        raise UnknownFormat(f"{path}: no such file or directory")
    if path.is_dir() != (name in ("llmbar", "vicuna")):
        raise UnknownFormat(f"{path}: {name} is read from a {'file' if path.is_dir() else 'directory'}")
    return READERS[name](path)


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
    if "completions" in row:
        return "records"
    if row.get("conversations") is not None or (row.get("messages") is not None and "label" in row):
        return "sharegpt"
    if hh.is_transcript(row.get("chosen")) and row.get("prompt") is None:
        return "hh"
    if any(row.get(key) is not None for key in ("chosen", "rejected", "prompt", "messages")):
        return "trl"
    raise UnknownFormat(f"{path.name}: no format has the keys {', '.join(map(str, row)) or '(none)'}")
