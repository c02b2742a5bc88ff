"""Rows of JSON, JSON Lines, CSV and Parquet files, and what all readers of rows share."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from prefloop.formats.opening import UnreadableFile, open_raw, suffix_of
from prefloop.records import InvalidRecord, LineError, Record, RecordsError, parse_record
from prefloop.records.form import MAX_ERRORS, MAX_LINE_BYTES

MAX_JSON_BYTES = 500_000_000
DATASET = "dataset"  # the judge that a data set's own labels come from

Row = dict[str, Any]
Convert = Callable[[Row], Row]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A row and where it stands; `row` is what went wrong where it could not be read."""

    number: int
    unit: str
    row: Row | str


def numbered_rows(path: Path) -> Iterator[Numbered]:
    """Read rows by the file's suffix (.jsonl .ndjson .json .csv .tsv, .gz; .parquet). Raises UnreadableFile."""
    readers: dict[str, Callable[[Path], Iterator[Numbered]]] = {
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
    }
    reader = readers.get(suffix_of(path))
    if reader is None or (path.suffix.lower() == ".gz" and reader is _parquet):
        raise UnreadableFile(f"{path.name}: its name ends in none of {', '.join(readers)}")
    try:
        yield from reader(path)
    except OSError as error:
        raise UnreadableFile(f"{path.name}: {error.strerror or error}") from None


def first_row(path: Path) -> Row | None:
    """Give the first row that could be read, of the first twenty; None where there is none."""
    return next((n.row for n in islice(numbered_rows(path), 20) if isinstance(n.row, dict)), None)


def rows_to_records(path: Path, convert: Convert, *, prefix: str) -> Iterator[Record]:
    """Convert each row to a record's JSON types, check it, and give it an id made of its content.

    The same file imported again makes the same ids; equal rows of one file are items of their own (`-2`, `-3`).
    Raises RecordsError at the end if any row was bad; after the first bad row no more records come.
    """
    errors: list[LineError] = []
    seen: Counter[str] = Counter()
    for numbered in numbered_rows(path):
        try:
            if isinstance(numbered.row, str):
                raise InvalidRecord(numbered.row)
            value = convert(numbered.row)
            digest = _digest(value)
            seen[digest] += 1
            repeat = f"-{seen[digest]}" if seen[digest] > 1 else ""
            record = parse_record({"id": f"{prefix}-{digest}{repeat}"} | value)
        except InvalidRecord as error:
            errors.append(LineError(numbered.number, str(error), numbered.unit))
            if len(errors) >= MAX_ERRORS:
                raise RecordsError(errors, stopped=True) from None
            continue
        if not errors:
            yield record
    if errors:
        raise RecordsError(errors)


def groups_to_records(
    path: Path, key: Callable[[Row], object], convert: Callable[[list[Row]], Row], *, prefix: str
) -> Iterator[Record]:
    """Convert rows that are about one item to one record: several people's labels of one pair belong together.

    The items come in the order of their first rows. Holds the file in memory, so larger ones than MAX_JSON_BYTES are
    refused. Raises RecordsError (at the first row of the item at fault) or UnreadableFile.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UnreadableFile(f"{path.name}: is larger than {MAX_JSON_BYTES:,} bytes; import it in parts")
    errors: list[LineError] = []
    groups: dict[str, list[Row]] = {}
    first: dict[str, Numbered] = {}
    for numbered in numbered_rows(path):
        if isinstance(numbered.row, str):
            errors.append(LineError(numbered.number, numbered.row, numbered.unit))
            continue
        name = _digest(key(numbered.row))
        groups.setdefault(name, []).append(numbered.row)
        first.setdefault(name, Numbered(numbered.number, numbered.unit, ""))
    for name, rows in groups.items():
        try:
            record = parse_record({"id": f"{prefix}-{name}"} | convert(rows))
        except InvalidRecord as error:
            errors.append(LineError(first[name].number, str(error), first[name].unit))
            continue
        if not errors:
            yield record
    if errors:
        errors.sort(key=lambda error: error.line)
        raise RecordsError(errors[:MAX_ERRORS], stopped=len(errors) > MAX_ERRORS)


def text_in(row: Row, key: str) -> str:
    """Give the text of a column. Raises InvalidRecord where it is missing or not a string."""
    if not isinstance(row.get(key), str):
        raise InvalidRecord(f"{key} is not a string" if row.get(key) is not None else f"{key} is missing")
    return str(row[key])


def number_in(row: Row, key: str, low: float, high: float) -> float:
    """Give the number of a column, CSV's spelling too. Raises InvalidRecord outside of low and high."""
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        raise InvalidRecord(f"{key} is not a number" if row.get(key) is not None else f"{key} is missing") from None
    if not low <= value <= high:
        raise InvalidRecord(f"{key} is not between {low:g} and {high:g}")
    return value


def _digest(value: object) -> str:
    try:
        return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:20]
    except orjson.JSONEncodeError as error:
        raise InvalidRecord(f"has a value that JSON can't hold: {error}") from None


def preference(prompt: object, chosen: str, rejected: str, *, metadata: Row, chosen_model: str = "") -> Row:
    """Make a record (JSON types, no id) in which `chosen` was preferred, by nobody in particular.

    The lower SHA-256 comes first: were the better answer always first, whoever prefers the first slot would look right.
    """
    flip = hashlib.sha256(rejected.encode()).digest() < hashlib.sha256(chosen.encode()).digest()
    completions = [{"text": rejected}, {"text": chosen}] if flip else [{"text": chosen}, {"text": rejected}]
    verdict = {"judge": DATASET, "pair": [0, 1], "choice": int(flip), "state": "ok"}
    return {"prompt": prompt, "completions": completions, "metadata": metadata, "verdicts": [verdict]}


def rated(prompt: object, completion: str, good: bool | None, *, metadata: Row) -> Row:
    """Make a record of one answer; where it was called good or bad that is a score of 1 or 0."""
    scores = [] if good is None else [{"judge": DATASET, "completion": 0, "value": float(good)}]
    return {"prompt": prompt, "completions": [{"text": completion}], "metadata": metadata, "scores": scores}


def rest(row: Row, *used: str) -> Row:
    """Keep the other columns, those that are empty left out, in JSON's types."""
    kept = {key: value for key, value in row.items() if key not in used and value not in (None, "", [], {})}
    try:
        plain: Row = orjson.loads(orjson.dumps(kept, default=str)) if kept else {}
    except (TypeError, orjson.JSONEncodeError) as error:
        raise InvalidRecord(f"has a column that JSON can't hold: {error}") from None
    return plain


def _json_lines(path: Path) -> Iterator[Numbered]:
    with open_raw(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(1 << 20)
                yield Numbered(number, "line", f"is longer than {MAX_LINE_BYTES:,} bytes")
                continue
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            try:
                yield _checked(number, "line", orjson.loads(line))
            except orjson.JSONDecodeError as error:
                yield Numbered(number, "line", f"is not valid JSON: {error}")


def _json(path: Path) -> Iterator[Numbered]:
    """A list of rows, read one by one; one row; or JSON Lines by another name."""
    with open_raw(path) as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start != b"[":
        yield from _json_object(path)
        return
    number = 0
    with open_raw(path) as stream:
        try:
            for row in ijson.items(_without_mark(stream), "item", use_float=True):
                number += 1
                yield _checked(number, "row", row)
        except ijson.JSONError as error:
            raise UnreadableFile(f"{path.name}: is not valid JSON after row {number}: {_line_of(error)}") from None


def _json_object(path: Path) -> Iterator[Numbered]:
    with open_raw(path) as stream:
        content = stream.read(MAX_LINE_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
    try:
        if len(content) <= MAX_LINE_BYTES:
            yield _checked(1, "row", orjson.loads(content))
            return
    except orjson.JSONDecodeError as error:
        if not (content.lstrip()[:1] == b"{" and b"\n" in content.strip()):
            raise UnreadableFile(f"{path.name}: is not valid JSON: {error}") from None
    yield from _json_lines(path)


def _without_mark(stream: BinaryIO) -> BinaryIO:
    if stream.peek(3)[:3] == b"\xef\xbb\xbf":  # type: ignore[attr-defined]
        stream.read(3)
    return stream


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _checked(number: int, unit: str, row: object) -> Numbered:
    return Numbered(number, unit, row if isinstance(row, dict) else "is not an object")


def _csv(path: Path) -> Iterator[Numbered]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with open_raw(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t" if suffix_of(path) == ".tsv" else ",", strict=True)
        number = 0
        try:
            for row in reader:
                number += 1
                if None in row or None in row.values():
                    yield Numbered(number, "row", f"has not the {len(reader.fieldnames or [])} columns of the header")
                else:
                    yield Numbered(number, "row", dict(row))
        except (csv.Error, UnicodeDecodeError) as error:
            yield Numbered(number + 1, "row", f"is not valid CSV in UTF-8: {error}")


def _parquet(path: Path) -> Iterator[Numbered]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield _checked(number, "row", row)
    except pa.ArrowException as error:
        raise UnreadableFile(f"{path.name}: is not a Parquet file: {str(error).splitlines()[0]}") from None
