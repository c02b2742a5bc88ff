"""The two files between a training process and its parent: `events.jsonl` out, `inbox.jsonl` in.

Both only grow, a JSON object a line. A line counts once its line end is there: a reader takes whole lines only and
remembers the offset, and a writer that finds a torn last line (its predecessor was killed) cuts it off before it
appends. An event: {"type", "at" (seconds since 1970), …}, of the types

    progress    {phase, done, total, step}         loading; how far the reference is read; in a slow step drawing or
                                                   learning; saving
    start       {step, n_rows, n_steps}            a process began; step > 0 where it resumed
    resume      {step, checkpoint}                 metrics and samples past `step` said before are superseded
    metric      {step, values: {TRL's names}, peak}   the most memory held so far: {device: cpu|cuda, bytes}
    checkpoint  {step, path, fingerprint}
    sample      {step, drawn, row, prompt_id, …}   answers to a prompt, drawn before step `drawn`, learnt from in `step`
    verdict     {step, row, pair, order, …}        what a judge said of two of them
    score       {step, row, place, sample, …}      what a judge gave one of them
    calls       {judge, calls}                     requests to a judge that brought nothing
    label       {step, pairs: [[row, i, j, p], …]} the pairs as the step learns from them
    overrides   {step, pairs: [[key, p], …]}       people's corrections that the step learns from besides
    heard       {step, offset}                     before `step` the inbox was taken in up to `offset`
    log         {level, message}
    end         {step, status: done|stopped|left|failed, path, fingerprint, peak, failure_class, message}
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from prefloop.types import PrefloopError

EventType = Literal[
    "progress",
    "start",
    "resume",
    "metric",
    "checkpoint",
    "sample",
    "verdict",
    "score",
    "calls",
    "label",
    "overrides",
    "heard",
    "log",
    "end",
]
InboxType = Literal["override"]
EndStatus = Literal["done", "stopped", "left", "failed"]

EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
INBOX_TYPES: tuple[InboxType, ...] = get_args(InboxType)


class EventsError(PrefloopError):
    """A whole line that is not an event."""


@dataclass(frozen=True, slots=True)
class Event:
    type: EventType
    at: float
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        step = self.data.get("step")
        return step if isinstance(step, int) else None


class EventWriter:
    """Appends events, each complete and flushed to the operating system before the call returns.

    `now` gives the time of an event in seconds since 1970. Without a path nothing is written: of several processes of a
    run only the first writes events.
    """

    def __init__(self, path: str | Path | None, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._stream = None
        if path is not None:
            self._stream = Path(path).open("ab", buffering=0)  # noqa: SIM115 - open as long as the run
            _cut_torn_line(self._stream.fileno(), Path(path))

    def write(self, type_: EventType, **data: Any) -> None:
        line = json.dumps({"type": type_, "at": self._now(), **data}, ensure_ascii=False, allow_nan=False)
        if self._stream is not None:
            self._stream.write(line.encode("utf-8", errors="replace") + b"\n")

    def close(self) -> None:
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()


def read_events(path: str | Path, offset: int = 0) -> tuple[list[Event], int]:
    """Return the complete events past `offset` (bytes) and the next offset; a missing file has none.

    Raises EventsError for a whole line that is not an event.
    """
    lines, new_offset = _whole_lines(Path(path), offset)
    events = []
    for data in lines:
        kind, at = data.pop("type", None), data.pop("at", None)
        if kind not in EVENT_TYPES or not isinstance(at, int | float):
            raise EventsError(f"{Path(path).name}: {kind!r} is not the type of an event")
        events.append(Event(type=kind, at=float(at), data=data))
    return events, new_offset


def drop_superseded(events: Iterable[Event]) -> list[Event]:
    """Leave out events of steps that a later resume repeated.

    What remains is one row per step, as if the run had never been interrupted.
    """
    kept: list[Event] = []
    for event in events:
        if event.type == "resume":
            back_to = event.step or 0
            kept = [old for old in kept if not _is_past(old, back_to)]
        kept.append(event)
    return kept


def _is_past(event: Event, step: int) -> bool:
    if event.type == "sample":
        return int(event.data["drawn"]) > step
    return event.type in ("metric", "checkpoint", "verdict", "score", "label", "overrides") and (event.step or 0) > step


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message to an on-policy run:

    override  {pair, prompt, first, second, first_ids, second_ids, p_first}   p_first None takes an earlier one back
    """

    type: InboxType
    data: dict[str, Any] = field(default_factory=dict)


def write_inbox(path: str | Path, type_: InboxType, **data: Any) -> None:
    """Send a message to a run, which reads it before its next step. Raises EventsError."""
    if type_ not in INBOX_TYPES:
        raise EventsError(f"a run can be told {', '.join(INBOX_TYPES)}, not {type_!r}")
    line = json.dumps({"type": type_, **data}, ensure_ascii=True, allow_nan=False)
    with Path(path).open("ab", buffering=0) as stream:
        _cut_torn_line(stream.fileno(), Path(path))
        stream.write(line.encode("ascii") + b"\n")
        os.fsync(stream.fileno())


def read_inbox(path: str | Path, offset: int = 0, until: int | None = None) -> tuple[list[InboxMessage], int]:
    """Return the messages past `offset` (and before `until`), and the next offset.

    Raises EventsError.
    """
    lines, new_offset = _whole_lines(Path(path), offset, until)
    told: list[InboxMessage] = []
    for data in lines:
        kind = data.pop("type", None)
        if kind not in INBOX_TYPES:
            raise EventsError(f"{Path(path).name}: a run can be told {', '.join(INBOX_TYPES)}, not {kind!r}")
        told.append(InboxMessage(kind, data))
    return told, new_offset


def _whole_lines(path: Path, offset: int, until: int | None = None) -> tuple[list[dict[str, Any]], int]:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(-1 if until is None else until - offset)
    except FileNotFoundError:
        return [], offset
    end = content.rfind(b"\n") + 1
    lines = []
    for line in content[:end].splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            raise EventsError(f"{path.name} holds a line that is not JSON, past byte {offset}") from None
        if not isinstance(data, dict):
            raise EventsError(f"{path.name} holds a line that is not an object, past byte {offset}")
        lines.append(data)
    return lines, offset + end


def _cut_torn_line(descriptor: int, path: Path) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return
    with path.open("rb") as stream:
        content = stream.read()
    whole = content.rfind(b"\n") + 1
    if whole != size:
        os.ftruncate(descriptor, whole)
