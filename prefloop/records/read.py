"""Records in: lines, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson

from prefloop.records import check
from prefloop.records.form import MAX_ERRORS, MAX_LINE_BYTES, InvalidRecord, LineError, Record, RecordsError
from prefloop.records.write import content_hash


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """Read what `read_hashed` reads, without the hashes."""
    return (record for _, record, _ in read_hashed(stream))


def read_hashed(stream: BinaryIO) -> Iterator[tuple[int, Record, str]]:
    """Read records from JSON Lines, canonical, each with its line number (from 1) and content hash; blank lines and
    exact repeats of an id are skipped.

    Raises RecordsError at the end of the stream if any line was bad (or as soon as 50 were); after the first bad line
    no more records come, only the other errors are gathered.
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
            digest = content_hash(record)
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
            yield number, record, digest
    if errors:
        raise RecordsError(errors)


def read_again(stream: BinaryIO, numbers: Iterable[int]) -> Iterator[tuple[int, Record]]:
    """Read the records of these lines, ascending, which `read_hashed` gave before; no other line is looked at.

    Raises RecordsError at a line that is no record (any more).
    """
    wanted = iter(numbers)
    number, next_one = 0, next(wanted, 0)
    while next_one and (line := stream.readline(MAX_LINE_BYTES + 1)):
        number += 1
        if number == next_one:
            try:
                yield number, parse_line(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            except InvalidRecord as error:
                raise RecordsError([LineError(number, str(error))]) from None
            next_one = next(wanted, 0)


def parse_line(line: bytes) -> Record:
    """Read one line of JSON. Raises InvalidRecord."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"is not valid JSON: {error}") from None
    if b"\\u0000" in line:
        check.refuse_nul(value)
    return check.parse_record(value)
