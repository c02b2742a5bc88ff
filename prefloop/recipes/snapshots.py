"""Snapshots: the exact rows that a run is trained on, as JSON Lines whose bytes depend only on the rows.

One row a line, keys in the order of the fields, floats as Python prints them (the shortest text that reads back to the
same number), UTF-8, "\\n" after every line. Writing the same rows again gives the same bytes, so that the SHA-256
names the training set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefloop.losses.declaration import Rows
from prefloop.types import PrefloopError, PromptContent, TrainingPair


class SnapshotError(PrefloopError):
    """A snapshot that can't be written or read; the text names the line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One answer: to learn to write, or, for a loss that learns from both, desirable or not."""

    id: str
    prompt: PromptContent
    completion: str
    weight: float = 1.0
    completion_ids: tuple[int, ...] = ()  # of an answer that a policy with the same tokenizer drew; else empty
    source: str = ""
    label_ids: tuple[str, ...] = ()
    desirable: bool = True
    cut: bool = False  # it reached its longest length before it ended, and has no ids to say so


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """One row of a snapshot of groups: several answers to a prompt with a score each."""

    id: str
    prompt: PromptContent
    completions: tuple[str, ...]
    scores: tuple[float, ...]
    weight: float = 1.0
    completion_ids: tuple[tuple[int, ...], ...] = ()  # token ids when a policy sampled them; else empty
    source: str = ""
    label_ids: tuple[str, ...] = ()
    cut: tuple[bool, ...] = ()  # for each without ids whether it was cut; empty: none was


Row = TrainingPair | Demonstration | RankedGroup
R = TypeVar("R", TrainingPair, Demonstration, RankedGroup)
_CLASSES: Mapping[Rows, type[Row]] = {
    "pairs": TrainingPair,
    "demonstrations": Demonstration,
    "answers": Demonstration,
    "groups": RankedGroup,
}
# what a row is written with only where it has it, so that older snapshots keep their bytes
_OPTIONAL: Mapping[str, tuple[Any, ...]] = {
    "target": (None,),
    "target_ids": ((),),
    "desirable": (True,),
    "first_cut": (False,),
    "second_cut": (False,),
    "target_cut": (False,),
    "cut": (False, ()),
}


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    sha256: str
    n_rows: int
    n_bytes: int


def encode_row(row: Row) -> bytes:
    """Return the line of a row, with its line end. Raises SnapshotError for a row that must not be trained on."""
    _check(row, where=f"row {row.id!r}")
    try:
        plain = dataclasses.asdict(row)
        plain = {key: value for key, value in plain.items() if value not in _OPTIONAL.get(key, ())}
        line = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return line.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        raise SnapshotError(f"row {row.id!r} holds a character that is not valid Unicode") from None


def encode_snapshot(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the lines of the rows in their order. Raises SnapshotError; an id must not occur twice."""
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise SnapshotError(f"row {row.id!r} occurs twice")
        seen.add(row.id)
        yield encode_row(row)


def write_snapshot(path: str | Path, rows: Iterable[Row]) -> SnapshotInfo:
    """Write the rows to `path` atomically (a temporary file, then a rename). Raises SnapshotError, OSError."""
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    digest = hashlib.sha256()
    n_rows = n_bytes = 0
    try:
        with temporary.open("wb") as stream:
            for line in encode_snapshot(rows):
                stream.write(line)
                digest.update(line)
                n_rows += 1
                n_bytes += len(line)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return SnapshotInfo(sha256=digest.hexdigest(), n_rows=n_rows, n_bytes=n_bytes)


def read_pairs(path: str | Path, *, sha256: str = "") -> list[TrainingPair]:
    """Read a snapshot of pairs. Raises SnapshotError naming the line, or if the bytes do not match `sha256`."""
    return _read(Path(path), TrainingPair, sha256)


def read_rows(path: str | Path, rows: Rows, *, sha256: str = "") -> list[Any]:
    """Read a snapshot of the rows that a loss learns from. Raises SnapshotError, as `read_pairs`."""
    return _read(Path(path), _CLASSES[rows], sha256)


def _read(path: Path, kind: type[R], sha256: str) -> list[R]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SnapshotError(f"the snapshot {path.name} is missing") from None
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise SnapshotError(
            f"the snapshot {path.name} is not the one that this run was made with (its SHA-256 differs)"
        )
    rows: list[R] = []
    seen: set[str] = set()
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line:
            continue
        where = f"{path.name}, line {number}"
        row = _row(kind, line, where)
        if row.id in seen:
            raise SnapshotError(f"{where}: row {row.id!r} occurs twice")
        seen.add(row.id)
        rows.append(row)
    if not rows:
        raise SnapshotError(f"the snapshot {path.name} has no rows")
    return rows


def _row(kind: type[R], line: bytes, where: str) -> R:
    try:
        data = json.loads(line)
    except ValueError:
        raise SnapshotError(f"{where}: not JSON") from None
    names = {item.name for item in dataclasses.fields(kind)}
    if not isinstance(data, Mapping) or not set(data) <= names:
        raise SnapshotError(f"{where}: a {kind.__name__} has the keys {', '.join(sorted(names))}")
    values: dict[str, Any] = {key: _tuples(value) for key, value in data.items()}
    try:
        row = kind(**values)
    except TypeError as error:
        raise SnapshotError(f"{where}: {error}") from None
    _check(row, where=where)
    return row


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, int) and part >= 0 for part in value)


def _fits(name: str, value: Any, *, grouped: bool) -> bool:
    if name in ("weight", "p_first"):
        return _is_number(value)
    if name == "cut" and grouped:
        return isinstance(value, tuple) and all(isinstance(part, bool) for part in value)
    if name == "desirable" or name.endswith("cut"):
        return isinstance(value, bool)
    if name == "scores":
        return isinstance(value, tuple) and all(_is_number(part) for part in value)
    if name in ("label_ids", "completions"):
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if name == "completion_ids" and grouped:
        return isinstance(value, tuple) and all(_are_ids(part) for part in value)
    if name.endswith("_ids"):
        return _are_ids(value)
    if name == "prompt" and isinstance(value, tuple):
        return bool(value) and all(_is_message(part) for part in value)
    return isinstance(value, str) or (name == "target" and value is None)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _check(row: Row, *, where: str) -> None:
    for item in dataclasses.fields(row):
        value = getattr(row, item.name)
        fits = _fits(item.name, value, grouped=isinstance(row, RankedGroup))
        if not fits:
            raise SnapshotError(f"{where}: {item.name} can't be {value!r}")
    if row.weight <= 0:
        raise SnapshotError(f"{where}: weight must be > 0, not {row.weight}")
    if isinstance(row, TrainingPair) and not 0.0 <= row.p_first <= 1.0:
        raise SnapshotError(f"{where}: p_first must be in [0, 1], not {row.p_first}")
    if isinstance(row, RankedGroup):
        n = len(row.completions)
        if n < 2 or len(row.scores) != n or not {len(row.completion_ids), len(row.cut)} <= {0, n}:
            raise SnapshotError(
                f"{where}: a group needs at least two completions, a score each, and ids and marks of all or none"
            )
