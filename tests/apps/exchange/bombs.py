"""Small files that would take any amount of memory, time or room on a page. `times`: how much worse than usual."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def repeated_text(folder: Path, times: int) -> Path:
    """A text once in a dictionary, for a thousand rows: under a kilobyte."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 200_000 * times])
    rows = pa.table({"prompt": ["p"] * 1000, "chosen": text, "rejected": ["n"] * 1000})
    pq.write_table(rows, folder / "text.parquet", compression="zstd", store_schema=False)
    return folder / "text.parquet"


def repeated_text_in_a_list(folder: Path, times: int) -> Path:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["x" * 20_000 * times])
    texts = pa.ListArray.from_arrays(list(range(0, 10_001, 100)), text)
    pq.write_table(
        pa.table({"prompt": ["p"] * 100, "chosen": texts}),
        folder / "list.parquet",
        compression="zstd",
        store_schema=False,
    )
    return folder / "list.parquet"


def nested_lists(folder: Path, times: int) -> Path:
    """Runs of nulls in lists in lists: a million values a row, in a few bytes."""
    inner = pa.ListArray.from_arrays([0, 1_000_000 * times], pa.nulls(1_000_000 * times, pa.int8()))
    rows = pa.concat_arrays([pa.ListArray.from_arrays([0, 1], inner)] * 20)
    pq.write_table(pa.table({"prompt": ["p"] * 20, "chosen": rows}), folder / "nested.parquet", compression="zstd")
    return folder / "nested.parquet"


def _varint(n: int, n_bytes: int) -> bytes:
    n <<= 1  # zigzag of a number that is not negative
    out = bytes((n >> 7 * i & 127) | 128 for i in range(n_bytes - 1))
    return out + bytes([n >> 7 * (n_bytes - 1)])


def lying_row_counts(folder: Path, times: int) -> Path:
    """Metadata that promises far more rows than the pages hold."""
    rows = 1_000_003
    columns = {name: pa.nulls(rows, pa.string()) for name in ("prompt", "chosen", "rejected")}
    pq.write_table(pa.table(columns), folder / "lying.parquet")
    content = (folder / "lying.parquet").read_bytes()
    assert content.count(_varint(rows, 3)) >= 2
    (folder / "lying.parquet").write_bytes(content.replace(_varint(rows, 3), _varint(1_048_575, 3)))
    return folder / "lying.parquet"


def ten_billion_rows(folder: Path, times: int) -> Path:
    """A file that says it has 10¹⁰ rows (here in its metadata, wherever a count stands)."""
    rows = (1 << 33) + 12_345  # as long as 10¹⁰ in a varint
    content = _one_row_group(folder, rows)
    (folder / "rows.parquet").write_bytes(content)
    return folder / "rows.parquet"


def _one_row_group(folder: Path, rows: int) -> bytes:
    small = 70
    pq.write_table(pa.table({"prompt": ["p"] * small, "chosen": ["y"] * small, "rejected": ["n"] * small}),
                   folder / "rows.parquet", store_schema=False)  # fmt: skip
    content = (folder / "rows.parquet").read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8]
    # field 3 (i64) of FileMetaData is num_rows; the row groups' own counts are left as they are
    at = footer.index(b"\x16" + _varint(small, 2))
    footer = footer[: at + 1] + _varint(rows * 1, 5) + footer[at + 3 :]
    return content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def empty_lists(folder: Path, times: int) -> Path:
    """One row with twenty million empty lists, in 57 kB."""
    with gzip.open(folder / "lists.json.gz", "wb", compresslevel=9) as file:
        file.write(b'[{"prompt": "p", "chosen": "y", "rejected": "n", "more": [')
        for _ in range(20 * times):
            file.write(b"[]," * 1_000_000)
        file.write(b"[]]}]")
    return folder / "lists.json.gz"


def empty_lists_in_a_line(folder: Path, times: int) -> Path:
    with gzip.open(folder / "lists.jsonl.gz", "wb", compresslevel=9) as file:
        file.write(b'{"id": "a", "prompt": "p", "completions": [{"text": "y"}], "metadata": {"more": [')
        file.write(b"[]," * min(6_600_000, 600_000 * times) + b"[]]}}\n")
    return folder / "lists.jsonl.gz"


def many_columns(folder: Path, times: int) -> Path:
    names = [f"column{i}" for i in range(50_000 * times)]
    (folder / "wide.csv").write_text(",".join(names) + "\n" + ",".join("x" * len(names)) + "\n")
    return folder / "wide.csv"


def long_names(folder: Path, times: int) -> Path:
    """A header that would be written again into the metadata of every row."""
    names = ["prompt", "chosen", "rejected", *(f"{i}{'n' * 10_000}" for i in range(900))]
    rows = (",".join(str(i + at)[-1] for at, _ in enumerate(names)) for i in range(300 * times))
    (folder / "names.csv").write_text(",".join(names) + "\n" + "\n".join(rows) + "\n")
    return folder / "names.csv"


def many_keys(folder: Path, times: int) -> Path:
    (folder / "keys.jsonl").write_text(json.dumps({"prompt": "p", **{f"k{i}": 1 for i in range(100_000 * times)}}))
    return folder / "keys.jsonl"


def deep_json(folder: Path, times: int) -> Path:
    depth = 100_000 * times
    (folder / "deep.json").write_text('[{"prompt": "p", "chosen": ' + "[" * depth + "]" * depth + "}]")
    return folder / "deep.json"


def deep_line(folder: Path, times: int) -> Path:
    depth = 100_000 * times
    (folder / "deep.jsonl").write_text('{"prompt": "p", "chosen": ' + "[" * depth + "]" * depth + "}\n")
    return folder / "deep.jsonl"


def long_numbers(folder: Path, times: int) -> Path:
    number = "9" * 5_000 * times
    (folder / "number.json").write_text(f'[{{"prompt": "p", "chosen": "y", "rejected": "n", "more": {number}}}]')
    return folder / "number.json"


def one_line(folder: Path, times: int) -> Path:
    """A line of a gigabyte, in a megabyte."""
    with gzip.open(folder / "line.csv.gz", "wb", compresslevel=9) as file:
        file.write(b"prompt,chosen,rejected\n")
        for _ in range(60 * times):
            file.write(b"x" * 1_000_000)
    return folder / "line.csv.gz"


BOMBS: dict[str, Callable[[Path, int], Path]] = {
    make.__name__: make
    for make in (
        repeated_text,
        repeated_text_in_a_list,
        nested_lists,
        lying_row_counts,
        ten_billion_rows,
        empty_lists,
        empty_lists_in_a_line,
        many_columns,
        long_names,
        many_keys,
        deep_json,
        deep_line,
        long_numbers,
        one_line,
    )
}


def all_bombs() -> Iterator[tuple[str, int]]:
    yield from ((name, times) for name in BOMBS for times in (1, 10))
