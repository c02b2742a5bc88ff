"""An export's lines in other file formats: CSV safe for spreadsheets, Parquet, and its data card.

A cell of a CSV that begins like a formula gets an apostrophe in front. So a CSV is for people; trainers should take
JSON Lines or Parquet, which have the exact values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from apps.core.csv import csv_safe
from prefloop.types import PrefloopError

KINDS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "parquet": "application/zip"}
_ROWS = 1_000  # of a row group
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


class NotATable(PrefloopError):
    """Lines that can't be put into a table."""


def kind_of(path: Path) -> str:
    """Return the file format for a name; anything but .csv and .parquet is JSON Lines."""
    return {".csv": "csv", ".parquet": "parquet"}.get(path.suffix.lower(), "jsonl")


def csv_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Write lines of JSON objects with the same keys as CSV, in UTF-8; texts stay texts, the rest is JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    header: list[str] | None = None
    for line in lines:
        row = orjson.loads(line)
        if header is None:
            header = list(row)
            writer.writerow(header)
        writer.writerow([_cell(row.get(name)) for name in header])
        yield text.getvalue().encode("utf-8", "replace")
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> str:
    shown = value if isinstance(value, str) else orjson.dumps(value).decode()
    return csv_safe(shown)


def parquet_write(lines: Iterable[bytes], path: Path) -> int:
    """Write lines as one Parquet file; returns the rows. A text beside conversations becomes a conversation.

    Raises NotATable if there are no lines, since a table without lines has no columns.
    """
    rows = (orjson.loads(line) for line in lines)
    first = list(islice(rows, _ROWS))
    if not first:
        raise NotATable("there is nothing to export in this format yet")
    talks = {name for row in first for name, value in row.items() if isinstance(value, list)}
    schema = pa.schema(
        [(name, _MESSAGES if name in talks else pa.bool_() if isinstance(value, bool) else pa.string())
         for name, value in first[0].items()]
    )  # fmt: skip
    n = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while first:
            try:
                writer.write_table(pa.Table.from_pylist([_row(row, talks) for row in first], schema=schema))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise NotATable(
                    f"these rows do not fit one table ({str(error).splitlines()[0]}); take them as JSON Lines"
                ) from None
            n += len(first)
            first = list(islice(rows, _ROWS))
    return n


def _row(row: dict[str, Any], talks: set[str]) -> dict[str, Any]:
    role = {"prompt": "user"}
    return {
        name: [{"role": role.get(name, "assistant"), "content": value}]
        if name in talks and isinstance(value, str)
        else value
        for name, value in row.items()
    }


def data_card(*, title: str, shape: str, says: str, labels: str, n_rows: int, sources: dict[str, int]) -> str:
    """Write the README.md of a data set: what it is, where its labels came from, how to read it."""
    size = next(name for limit, name in _SIZES if n_rows < limit)
    told = "".join(f"| {name} | {n:,} |\n" for name, n in sorted(sources.items()))
    return f"""---
pretty_name: {orjson.dumps(title).decode()}
tags: [preference, prefloop]
size_categories: ["{size}"]
configs:
- config_name: default
  data_files: "*.parquet"
---

# {title}

{says} {n_rows:,} rows, in the shape `{shape}`, exported by prefloop.

## Labels

{labels}. Gold items and evaluation prompts are not part of it. Where the labels of the project came from:

| source | comparisons |
|---|---:|
{told}
A label is an override where a person corrected a judge, else an adjudication, else the majority of the people who
compared the two answers blind, else the judge's.

## Licence and intended use

Not stated by the export: whoever publishes this names the licence of the prompts and of the answers, and what the set
may be used for.
"""


_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10**12, "1M<n<10M"),
)
