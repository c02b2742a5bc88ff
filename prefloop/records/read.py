"""Reading records: lines, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from prefloop.records import check
from prefloop.records.form import MAX_ERRORS, MAX_LINE_BYTES, InvalidRecord, LineError, Record, RecordsError
from prefloop.records.values import loads
from prefloop.records.write import hash_of, write_record


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """Read what `read_written` reads, only the records."""
    return (record for _, record, _, _ in read_written(stream))


def read_written(stream: BinaryIO) -> Iterator[tuple[int, Record, bytes, str]]:
    """Read records from JSON Lines, each with its line number (from 1), its canonical line and that line's hash; blank
    lines and exact repeats of an id are skipped.

    Raises RecordsError at the end of the stream if any line was bad (or as soon as 50 were); after the first bad line
    no more records are given, only further errors collected.
    """
    errors: list[LineError] = []
    seen: dict[str, bytes] = {}  # id -> digest, then the line's number: one object a record, for there may be millions
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(1 << 20)
                raise InvalidRecord(f"is longer than {MAX_LINE_BYTES:,} bytes")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            record = parse_line(line)
            written = write_record(record)
            digest = hash_of(written)
            if record.id in seen:
                known = seen[record.id]
                if known[:32].hex() == digest:
                    continue
                before = int.from_bytes(known[32:])
                raise InvalidRecord(f"id {record.id!r} is that of line {before}, with other content")
            seen[record.id] = bytes.fromhex(digest) + number.to_bytes(8)
        except InvalidRecord as error:
            errors.append(LineError(number, str(error)))
            if len(errors) >= MAX_ERRORS:
                raise RecordsError(errors, stopped=True) from None
            continue
        if not errors:
            yield number, record, written, digest
    if errors:
        raise RecordsError(errors)


def parse_line(line: bytes) -> Record:
    """Read one line of JSON. Raises InvalidRecord."""
    return check.parse_record(loads(line))
