"""Limits on the size of a row, a record and an unpacked file, since the makers of files can choose any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefloop.formats.opening import UnreadableFile, unpacked_limit
from prefloop.records.form import MAX_VALUES

MAX_COLUMNS = 1_000
MAX_ROWS = 5_000_000  # of a Parquet file, which says how many it has
_BATCH_ROWS = 64
_BATCH_VALUES = 2_000_000

Row = dict[str, Any]


def too_wide(row: Row) -> str:
    """Say why a row has too many columns; empty if it has not."""
    return f"has {len(row):,} columns, more than {MAX_COLUMNS:,}" if len(row) > MAX_COLUMNS else ""


def parquet_rows(path: Path) -> Any:
    """Give the rows of a Parquet file, a few at a time, counting their unpacked size.

    A few bytes of a dictionary or of runs can stand for any number of texts and values. Raises UnreadableFile.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_bytes, limit = 0, unpacked_limit(path)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if len(file.schema_arrow) > MAX_COLUMNS:
                raise UnreadableFile(f"{path.name}: has {len(file.schema_arrow):,} columns, more than {MAX_COLUMNS:,}")
            names = file.schema_arrow.names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise UnreadableFile(f"{path.name}: names the column {twice[:80]!r} twice")
            if file.metadata.num_rows > MAX_ROWS:
                raise UnreadableFile(
                    f"{path.name}: has {file.metadata.num_rows:,} rows, more than {MAX_ROWS:,}; import it in parts"
                )
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                batch = _spelled_out(batch)
                n_values = _n_values(batch.columns)
                n_bytes += batch.nbytes + 8 * n_values
                if n_bytes > limit:
                    raise UnreadableFile(f"{path.name}: unpacks to more than {limit:,} bytes; import it in parts")
                if n_values <= _BATCH_VALUES:
                    yield from batch.to_pylist()
                    continue
                for at in range(batch.num_rows):
                    one = batch.slice(at, 1)
                    if _n_values(one.columns) > MAX_VALUES:
                        raise UnreadableFile(f"{path.name}: a row of it has more than {MAX_VALUES:,} values")
                    yield from one.to_pylist()
    except MemoryError:  # which Arrow's own is too
        raise
    except pa.ArrowException as error:
        raise UnreadableFile(f"{path.name}: is not a Parquet file: {str(error).splitlines()[0][:200]}") from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path.name}: holds text that is not UTF-8: {error.reason}") from None


def _spelled_out(batch: Any) -> Any:
    """Replace the codes of a dictionary by their values, so that the values' bytes count."""
    import pyarrow as pa

    if not any(pa.types.is_dictionary(column.type) for column in batch.columns):
        return batch
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _n_values(columns: list[Any]) -> int:
    """Count the values of Arrow arrays, those of lists and structs at any depth too."""
    import pyarrow.types as kinds

    n, stack = 0, list(columns)
    while stack:
        array = stack.pop()
        n += len(array)
        if kinds.is_list(array.type) or kinds.is_large_list(array.type) or kinds.is_fixed_size_list(array.type):
            stack.append(array.flatten())
        elif kinds.is_struct(array.type):
            stack.extend(array.flatten())
        elif kinds.is_map(array.type):
            first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
            stack += [array.keys.slice(first, last - first), array.items.slice(first, last - first)]
    return n
