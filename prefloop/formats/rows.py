"""Rows of JSON, JSON Lines, CSV and Parquet files; all values pass `prefloop.records.values`.

A directory whose files are all of one of these kinds is read as one table, file after file in the order of their names.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from prefloop.formats.bounds import MAX_COLUMNS, parquet_rows, too_wide
from prefloop.formats.opening import UnreadableFile, suffix_of
from prefloop.formats.source import Source, open_utf8
from prefloop.records import InvalidRecord
from prefloop.records.form import MAX_LINE_BYTES
from prefloop.records.values import decoder, loads, plain

DATASET = "dataset"  # the judge that a data set's own labels come from
_PIECE = 1 << 20  # characters of a list of JSON read at a time
_SPACE = re.compile(r"[ \t\r\n]*")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A row in JSON's types and its place; `row` is the error if it could not be read."""

    number: int
    unit: str
    row: Row | str
    left_out: tuple[str, ...] = ()  # fields that hold bytes


def numbered_rows(source: Source) -> Iterator[Numbered]:
    """Read rows by the file's suffix (.jsonl .ndjson .json .csv .tsv, .gz; .parquet). Raises UnreadableFile.

    In a directory of parts rows are counted through all of them.
    """
    if source.path.is_dir():
        number = 0
        for part in parts_of(source.path):
            for numbered in numbered_rows(replace(source, path=part)):
                number += 1
                yield replace(numbered, number=number, unit="row")
        return
    path = source.path
    reader = _READERS.get(suffix_of(path))
    if reader is None or (path.suffix.lower() == ".gz" and reader is _parquet):
        raise UnreadableFile(f"{path.name}: its name ends in none of {', '.join(_READERS)}")
    try:
        yield from reader(source)
    except OSError as error:
        raise UnreadableFile(f"{path.name}: {error.strerror or error}") from None


def parts_of(directory: Path) -> list[Path]:
    """List the files of a directory that together are one table, by name; empty if its files are anything else."""
    files = sorted(file for file in directory.iterdir() if not file.name.startswith("."))
    kinds = {suffix_of(file) if file.is_file() else "" for file in files}
    return files if len(kinds) == 1 and kinds <= _READERS.keys() else []


def first_row(source: Source) -> Numbered | None:
    """Give the first readable row of the first twenty, else the first; None if there is none."""
    rows = list(islice(numbered_rows(source), 20))
    return next((numbered for numbered in rows if isinstance(numbered.row, dict)), rows[0] if rows else None)


def header_of(source: Source) -> list[str]:
    """Name the columns of a CSV, whether or not its rows can be read; nothing for other files."""
    if source.path.is_dir():
        return next((header_of(replace(source, path=part)) for part in parts_of(source.path)), [])
    if suffix_of(source.path) not in (".csv", ".tsv"):
        return []
    with _text(source) as stream:
        return _header(stream, source)[0]


def text_in(row: Row, key: str) -> str:
    """Give the text of a column. Raises InvalidRecord where it is missing or not a string."""
    if not isinstance(row.get(key), str):
        raise InvalidRecord(f"{key} is not a string" if row.get(key) is not None else f"{key} is missing")
    return str(row[key])


def number_in(row: Row, key: str, low: float, high: float) -> float:
    """Give the number of a column, CSV's spelling too. Raises InvalidRecord outside of low and high."""
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidRecord(f"{key} is not a number" if row.get(key) is not None else f"{key} is missing") from None
    if not low <= value <= high:
        raise InvalidRecord(f"{key} is not between {low:g} and {high:g}")
    return value


def rest(row: Row, *used: str) -> Row:
    """Keep the other columns, except empty ones."""
    return {key: value for key, value in row.items() if key not in used and value not in (None, "", [], {})}


def _checked(number: int, unit: str, value: object) -> Numbered:
    try:
        row, left_out = plain(value)
    except InvalidRecord as error:
        return Numbered(number, unit, str(error))
    return Numbered(number, unit, too_wide(row) or row, left_out)


def _json_lines(source: Source) -> Iterator[Numbered]:
    with open_utf8(source) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(1 << 20)
                yield Numbered(number, "line", f"is longer than {MAX_LINE_BYTES:,} bytes")
                continue
            if not line.strip():
                continue
            try:
                row = loads(line)
            except InvalidRecord as error:
                yield Numbered(number, "line", str(error))
                continue
            yield Numbered(number, "line", too_wide(row) or row if isinstance(row, dict) else "is not an object")


def _json(source: Source) -> Iterator[Numbered]:
    """A list of rows, read one by one; one row; or JSON Lines under another suffix."""
    with open_utf8(source) as stream:
        start = stream.read(4096).lstrip()[:1]
    if start == b"[":
        with _text(source) as text:
            yield from _json_list(text, source)
        return
    with open_utf8(source) as stream:
        content = stream.read(MAX_LINE_BYTES + 1)
    try:
        if len(content) <= MAX_LINE_BYTES:
            yield _checked(1, "row", loads(content))
            return
    except InvalidRecord as error:
        if not (content.lstrip()[:1] == b"{" and b"\n" in content.strip()):
            if str(error).startswith("is not valid JSON"):
                raise UnreadableFile(f"{source.path.name}: {error}") from None
            yield Numbered(1, "row", str(error))
            return
    yield from _json_lines(source)


def _json_list(stream: io.TextIOWrapper, source: Source) -> Iterator[Numbered]:
    """Rows of one list; at most one row and a piece are held in memory. Raises UnreadableFile if it ends wrongly."""
    reader = decoder()
    text, at, number = stream.read(_PIECE), 0, 0
    ended = False

    def more() -> bool:
        nonlocal text, at, ended
        if len(text) - at > MAX_LINE_BYTES:
            raise UnreadableFile(
                f"{source.path.name}: row {number + 1} is longer than {MAX_LINE_BYTES:,} characters or not valid JSON"
            )
        piece = stream.read(max(_PIECE, len(text) - at))
        text, at, ended = text[at:] + piece, 0, not piece
        return not ended

    def next_character() -> str:
        nonlocal at
        while True:
            at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
            if at < len(text) or not more():
                return text[at : at + 1]

    def broken(why: str) -> UnreadableFile:
        return UnreadableFile(f"{source.path.name}: is not valid JSON after row {number}: {why}")

    next_character()
    at += 1  # the bracket
    comma = next_character() != "]"
    while comma:
        while True:
            try:
                value, end = reader.raw_decode(text, at)
                if end < len(text) or not more():  # else a number may go on
                    break
            except InvalidRecord as error:  # a name that stands twice
                raise UnreadableFile(f"{source.path.name}: row {number + 1}: {error}") from None
            except RecursionError:
                raise broken("nested too deep") from None
            except json.JSONDecodeError as error:
                if not more():
                    raise broken(error.msg) from None
            except ValueError:
                raise broken("a number of thousands of digits") from None
        at = end
        number += 1
        comma = next_character() == ","
        if not comma and text[at : at + 1] != "]":
            raise broken("neither another row nor the list's end")
        yield _checked(number, "row", value)
        if comma:
            at += 1
            next_character()
    at += 1
    if next_character():
        raise broken("there is something after the end of the list")


def _text(source: Source) -> io.TextIOWrapper:
    stream: BinaryIO = open_utf8(source)
    return io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")


def _header(stream: io.TextIOWrapper, source: Source) -> tuple[list[str], str]:
    """Read a CSV's first line; its delimiter is a semicolon or a tab where no comma is in it."""
    csv.field_size_limit(MAX_LINE_BYTES)
    line = stream.readline(MAX_LINE_BYTES)
    while line.count('"') % 2 and len(line) < MAX_LINE_BYTES and (next_line := stream.readline(MAX_LINE_BYTES)):
        line += next_line
    if len(line) >= MAX_LINE_BYTES:
        raise UnreadableFile(f"{source.path.name}: its header is longer than {MAX_LINE_BYTES:,} characters")
    delimiter = "\t" if suffix_of(source.path) == ".tsv" else next((d for d in ",;\t" if d in line), ",")
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise UnreadableFile(f"{source.path.name}: its header is not valid CSV: {error}") from None
    if len(names) > MAX_COLUMNS:
        raise UnreadableFile(f"{source.path.name}: has {len(names):,} columns, more than {MAX_COLUMNS:,}")
    names = [name if name.strip() else f"column {i}" for i, name in enumerate(names, 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UnreadableFile(f"{source.path.name}: its header names the column {twice[:80]!r} twice")
    return names, delimiter


def _csv(source: Source) -> Iterator[Numbered]:
    with _text(source) as stream:
        names, delimiter = _header(stream, source)
        reader = csv.reader(_bounded_lines(stream, source), delimiter=delimiter, strict=True)
        number = 0
        try:
            for cells in reader:
                if not cells:  # an empty line
                    continue
                number += 1
                if len(cells) != len(names):
                    yield Numbered(number, "row", f"has not the {len(names)} columns of the header")
                else:
                    yield _checked(number, "row", dict(zip(names, cells, strict=True)))
        except csv.Error as error:
            yield Numbered(number + 1, "row", f"is not valid CSV: {error}")


def _bounded_lines(stream: io.TextIOWrapper, source: Source) -> Iterator[str]:
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise UnreadableFile(f"{source.path.name}: has a line of more than {MAX_LINE_BYTES:,} characters")
        yield line


def _parquet(source: Source) -> Iterator[Numbered]:
    for number, row in enumerate(parquet_rows(source.path), start=1):
        yield _checked(number, "row", row)


_READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
SUFFIXES = tuple(_READERS)
