"""Asking a judge many questions: several at once, none without room under its cap, each reply told as it comes.

A job, a trial and a training step ask by this. What they do with a reply is their own: they write it, with the calls
that it took, before it is used, so that whatever is stopped in the middle and taken up again asks nothing twice.
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
from prefloop.judging.verdicts import AS_STORED, Order
from prefloop.pool import call_all

CALLS_AT_ONCE = 8
T = TypeVar("T")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked once: which of two answers is better, shown in this order, or what one answer is worth."""

    prompt: str
    answers: tuple[str, ...]
    order: Order = AS_STORED
    sample: int = 0


class Asker(Protocol[S_co]):
    """Somebody who answers questions, slowly."""

    def ask(self, question: Question) -> S_co:
        """Answer. Raises JudgeError."""
        ...

    def most(self, question: Question) -> Most:
        """Say what one request with this question can take."""
        ...


@dataclass(frozen=True, slots=True)
class Reply(Generic[S]):
    said: S
    seconds: float


@dataclass(frozen=True, slots=True)
class Asked(Generic[T, S]):
    """What came of an item: a reply to each of its questions, none where it met trouble; and the calls it took."""

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
    """Ask the questions of every item, those of several items at once. Without a meter it costs nothing.

    `keep` is given what came of items, in this thread, as it comes. Trouble with the judge, or an exception of `check`,
    ends it once the calls in flight are kept. Where the cap leaves no room for the next item while others are in
    flight, it waits for what they take in the end; CapReached is raised where none is.
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
    """A thread that waits for the hold of one more request."""

    most: Most
    answered: threading.Event
    said: Hold | JudgeError | None = None


class _Desk:
    """Takes holds from the meter, always in the thread that asks: a database's connection is that thread's."""

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        self._again: queue.SimpleQueue[_Again] = queue.SimpleQueue()
        self._waiting: list[_Again] = []
        self.in_flight = 0

    def account(self, most: Sequence[Most]) -> Account | None:
        """Hold what an item's requests can take; None where there is no room before another item has ended."""
        try:
            held = self._meter.hold(most) if self._meter is not None else []
        except CapReached:
            if not self.in_flight:
                raise
            return None
        self.in_flight += 1
        return Account(held, lambda: self._more(most[0]))

    def _more(self, most: Most) -> Hold:
        """In an item's own thread: wait for one more hold."""
        waiting = _Again(most, threading.Event())
        self._again.put(waiting)
        waiting.answered.wait()
        if isinstance(waiting.said, Hold):
            return waiting.said
        raise waiting.said or _Ends()

    def serve(self, goes_on: bool) -> None:
        """Give holds to the threads that wait for one; refuse them where the asking ends."""
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
    """The asking ends: nothing more is asked."""
