"""The values allowed in a file: one rule for JSON, CSV, Parquet and similar formats.

Text is whole characters without NUL. Numbers are finite, and whole numbers have at most 64 bits, so that they are
stored and written as they were read. Times become ISO 8601 text. Bytes are neither text nor number: they are left out
and named. Field names are not repeated in one object. Values that break a rule are refused with the reason, never
changed.
"""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import orjson

from prefloop.records.form import MAX_DEPTH, MAX_VALUES, InvalidRecord

LEAST, MOST = -(2**63), 2**64 - 1
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19  # any that is longer than 64 bits, its digits made 0; far faster than a pattern
_BYTES = object()
_OWN_DEPTH = 5  # of a record: its metadata, that of its answers


def loads(text: bytes) -> object:
    """Read JSON; an object comes out as `plain` gives it. Raises InvalidRecord."""
    try:
        value = orjson.loads(text)
        written = orjson.dumps(value)
    except orjson.JSONDecodeError as error:
        return _slowly(text, str(error))
    except orjson.JSONEncodeError:
        raise InvalidRecord("is nested too deep") from None
    refuse_many_values(text, value)
    # What orjson reads is plain already but for these; fewer names written than read are one that stood twice.
    if text.count(b'":') != written.count(b'":') or b"\\u0000" in text or _LONG_NUMBER in text.translate(_DIGITS):
        return _slowly(text, "")
    return value


def refuse_many_values(line: bytes, value: object = None) -> None:
    """Raises InvalidRecord if a line of JSON (`value` if it is read already) has more than MAX_VALUES values."""
    if line.count(b",") + line.count(b"[") + line.count(b"{") < MAX_VALUES:  # which is never less than there are
        return
    n, stack = 0, [orjson.loads(line) if value is None else value]
    while stack:
        node = stack.pop()
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        n += len(children)
        if n > MAX_VALUES:
            raise InvalidRecord(f"has more than {MAX_VALUES:,} values")
        stack.extend(child for child in children if isinstance(child, dict | list))


def decoder() -> json.JSONDecoder:
    """Make a reader of JSON that is exact about numbers and refuses a repeated field."""
    return json.JSONDecoder(object_pairs_hook=_once)


def _slowly(text: bytes, why: str) -> object:
    """Read what orjson refuses or changes, to find the error or to keep the value exactly."""
    try:
        value = decoder().decode(text.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise InvalidRecord(f"is not valid JSON: {why or error}") from None
    except RecursionError:
        raise InvalidRecord("is not valid JSON that can be read: nested too deep") from None
    except ValueError:
        raise InvalidRecord("holds a number of thousands of digits") from None
    return plain(value)[0] if isinstance(value, dict) else value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidRecord(f"has the field {next(n for n in names if names.count(n) > 1)[:80]!r} twice")
    return value


def plain(row: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give a row in JSON's types, and the fields that were left out because they hold bytes. Raises InvalidRecord."""
    if not isinstance(row, dict):
        raise InvalidRecord("is not an object")
    left_out: list[str] = []
    return cast("dict[str, Any]", _plain(row, "", 0, left_out)), tuple(left_out)


def _plain(value: Any, at: str, depth: int, left_out: list[str]) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, at)
    if value is None or kind is bool:
        return value
    if kind is int or kind is float:
        return _number(value, at)
    if depth > MAX_DEPTH + _OWN_DEPTH:
        raise InvalidRecord(f"{at.split('.')[0]} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        out = {}
        for name, child in value.items():
            inner = f"{at}.{name}" if at else str(name)[:80]
            if type(name) is not str:
                raise InvalidRecord(f"{at} has a field whose name is no text")
            _text(name, "the name of a field")
            kept = _plain(child, inner, depth + 1, left_out)
            if kept is not _BYTES:
                out[name] = kept
        return out
    if isinstance(value, list | tuple):
        if value and all(type(one) is tuple and len(one) == 2 and type(one[0]) is str for one in value):
            return _plain(_once(list(value)), at, depth, left_out)  # a map of Parquet's
        items = [_plain(one, f"{at}[{i}]", depth + 1, left_out) for i, one in enumerate(value)]
        return [one for one in items if one is not _BYTES]
    if isinstance(value, bytes | bytearray | memoryview):
        left_out.append(re.sub(r"\[\d+\]", "[]", at))
        return _BYTES
    return _other(value, at)


def _text(value: str, at: str) -> str:
    if "\0" in value:
        raise InvalidRecord(f"{at} holds a NUL character, which databases can't store")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidRecord(_half_a_character(value, at, error.start)) from None
    return value


def _half_a_character(value: str, at: str, start: int) -> str:
    code = ord(value[start])
    if not 0xDC80 <= code <= 0xDCFF:
        return f"{at} holds half a character (a lone surrogate, \\u{code:04x})"
    byte = code - 0xDC00  # as `surrogateescape` keeps a byte that is none of UTF-8's
    around = value[max(0, start - 15) : start + 15].encode("utf-8", "surrogateescape")
    guess = "".join(c if c.isprintable() else "?" for c in around.decode("cp1252", "replace"))
    return (
        f"{at} is not UTF-8 text: byte 0x{byte:02x}. In Windows-1252 it reads {guess!r}: save the file as UTF-8, "
        "or read it with the encoding named (--map encoding=cp1252)"
    )


def _number(value: int | float, at: str) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRecord(f"{at} is {str(value).replace('nan', 'NaN')}, which is no number and which JSON lacks")
    elif not LEAST <= value <= MOST:
        n = len(str(abs(value))) if abs(value) < 10**300 else 300
        raise InvalidRecord(f"{at} is a whole number of {n} digits, more than 64 bits hold: write it as text")
    return value


def _other(value: Any, at: str) -> Any:
    """Convert values that Parquet has in addition to JSON's."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | timedelta):
        return str(value)
    if isinstance(value, Decimal):
        if value.is_finite() and value == value.to_integral_value():
            return _number(int(value), at)
        number = float(value)
        if Decimal(repr(number)) == value:
            return number
        raise InvalidRecord(f"{at} is a number of more digits than 64 bits hold: write it as text")
    raise InvalidRecord(f"{at} is of a kind ({type(value).__name__}) that is neither text, number, list nor object")
