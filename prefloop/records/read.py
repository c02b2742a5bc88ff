"""Records in: lines, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import orjson

from prefloop.records import check
from prefloop.records.form import MAX_ERRORS, MAX_LINE_BYTES, InvalidRecord, LineError, Record, RecordsError
from prefloop.records.write import content_hash


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """Read records from JSON Lines, canonical, skipping blank lines and exact repeats of an id.

    Raises RecordsError at the end of the stream if any line was bad (or as soon as 50 were); after the first bad line
    no more records come, only the other errors are gathered.
    """
    errors: list[LineError] = []
    seen: dict[str, tuple[int, str]] = {}
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
            digest = content_hash(record)
            if record.id in seen:
                before, known = seen[record.id]
                if known == digest:
                    continue
                raise InvalidRecord(f"id {record.id!r} is that of line {before}, with other content")
            seen[record.id] = (number, digest)
        except InvalidRecord as error:
            errors.append(LineError(number, str(error)))
            if len(errors) >= MAX_ERRORS:
                raise RecordsError(errors, stopped=True) from None
            continue
        if not errors:
            yield record
    if errors:
        raise RecordsError(errors)


def parse_line(line: bytes) -> Record:
    """Read one line of JSON. Raises InvalidRecord."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"is not valid JSON: {error}") from None
    if b"\\u0000" in line:
        check.refuse_nul(value)
    return check.parse_record(value)
