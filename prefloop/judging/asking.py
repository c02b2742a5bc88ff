"""Ask a judge many questions at once, each only if its cost fits under the endpoint's cap.

Jobs, trials and training steps all ask through `ask_all`. They store each reply, with the calls that it took, before
they use it, so that a run that is stopped and resumed asks nothing twice.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from prefloop.judging.errors import CapReached, JudgeError
from prefloop.judging.metering import Account, Call, Hold, Meter, Most, on_account
from prefloop.pool import call_all
from prefloop.types import AS_STORED, Order

CALLS_AT_ONCE = 8
T = TypeVar("T")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a judge: which of two answers, shown in this order, is better, or which score one answer gets.

    To an endpoint that answers prompts: the id of a prompt, and which of its answers is wanted (`sample`).
    """

    prompt: str
    answers: tuple[str, ...]
    order: Order = AS_STORED
    sample: int = 0


class Asker(Protocol[S_co]):
    """Whoever answers questions: a judge, or an endpoint. A call may take seconds."""

    def ask(self, question: Question) -> S_co:
        """Return the answer. Raises JudgeError."""
        ...

    def most(self, question: Question) -> Most:
        """Return the most tokens that one request with this question can use."""
        ...


@dataclass(frozen=True, slots=True)
class Reply(Generic[S]):
    said: S
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked(Generic[T, S]):
    """An item after it was asked: a reply to each question, or none if a call failed; and the calls that were made."""

    item: T
    replies: tuple[Reply[S], ...]
    calls: tuple[Call, ...]


def ask_all(
    asker: Asker[S],
    wanted: Iterable[tuple[T, Sequence[Question]]],
    *,
    keep: Callable[[list[Asked[T, S]]], None],
    meter: Meter | None = None,
    at_once: int = CALLS_AT_ONCE,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Ask all questions of all items, several items at the same time. Without a meter the calls are not counted.

    `keep` receives finished items, in this thread, as they finish. If a call fails, or `check` raises, no further
    call is made, and the error is raised after the running calls have finished and were kept. If the cap has no room
    for the next item, it waits until running calls have finished, because they may use less than was reserved for
    them; if no call is running, it raises CapReached.
    """
    desk = _Desk(meter)

    def items() -> Iterator[_Item[T] | None]:
        for item, questions in wanted:
            most = [asker.most(question) for question in questions]
            while (account := desk.account(most)) is None:
                yield None
            yield _Item(item, questions, account)

    def ask(one: _Item[T]) -> tuple[Reply[S], ...]:
        with on_account(one.account if meter is not None else None):
            return tuple(_timed(asker, question) for question in one.questions)

    def ended(answered: list[tuple[_Item[T], tuple[Reply[S], ...]]], failed: list[_Item[T]]) -> None:
        desk.in_flight -= len(answered) + len(failed)
        none: tuple[Reply[S], ...] = ()
        asked = [*answered, *((one, none) for one in failed)]
        keep([Asked(one.item, replies, tuple(one.account.close())) for one, replies in asked])

    call_all(ask, items(), at_once=at_once, on_ended=ended, check=check, meanwhile=desk.serve)


def _timed(asker: Asker[S], question: Question) -> Reply[S]:
    began = time.monotonic()
    said = asker.ask(question)
    return Reply(said, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    item: T
    questions: Sequence[Question]
    account: Account


@dataclass(slots=True)
class _Again:
    """A thread that waits until one more request is reserved for it."""

    most: Most
    answered: threading.Event
    said: Hold | JudgeError | None = None


class _Desk:
    """Reserves requests with the meter. Only the asking thread does so: the database connection is its own."""

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        self._again: queue.SimpleQueue[_Again] = queue.SimpleQueue()
        self._waiting: list[_Again] = []
        self.in_flight = 0

    def account(self, most: Sequence[Most]) -> Account | None:
        """Reserve the most that an item's requests can use; None if another item must finish first to make room."""
        try:
            held = self._meter.hold(most) if self._meter is not None else []
        except CapReached:
            if not self.in_flight:
                raise
            return None
        self.in_flight += 1
        return Account(held, lambda: self._more(most[0]))

    def _more(self, most: Most) -> Hold:
        """Wait, in the thread of an item, until one more request is reserved."""
        waiting = _Again(most, threading.Event())
        self._again.put(waiting)
        waiting.answered.wait()
        if isinstance(waiting.said, Hold):
            return waiting.said
        raise waiting.said or _Ends()

    def serve(self, goes_on: bool) -> None:
        """Reserve a request for each waiting thread; raise in these threads if nothing more is asked."""
        while not self._again.empty():
            self._waiting.append(self._again.get())
        still: list[_Again] = []
        for one in self._waiting:
            try:
                if not goes_on or self._meter is None:
                    raise _Ends
                (one.said,) = self._meter.hold([one.most])
            except JudgeError as error:
                if goes_on and isinstance(error, CapReached) and self.in_flight > len(self._waiting):
                    still.append(one)
                    continue
                one.said = error
            except Exception:  # noqa: BLE001 - told to stop while it waited: `check` says so again, to the caller
                one.said = _Ends()
            one.answered.set()
        self._waiting = still


class _Ends(JudgeError):
    """Nothing more is asked, because the run ends."""
