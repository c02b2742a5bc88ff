"""Calls to something slow, several at once: judges, samplers. Results are handled in one thread.

A call to a server that was made is waited for. One that computes here, with a model of this process, may take minutes
and is dropped where the caller's check says to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from prefloop.interrupting import interrupted_by
from prefloop.types import PrefloopError

T = TypeVar("T")
R = TypeVar("R")
_LOOK_SECONDS = 0.5  # between two looks whether to go on


class _Stopped(PrefloopError):
    """A call that was dropped in the middle of its computation."""


def call_all(
    call: Callable[[T], R],
    items: Iterable[T | None],
    *,
    at_once: int,
    on_ended: Callable[[list[tuple[T, R]], list[T]], None],
    check: Callable[[], None] = lambda: None,
    meanwhile: Callable[[bool], None] = lambda goes_on: None,
) -> None:
    """Call for every item, `at_once` of them at a time.

    `on_ended` is told in this thread, as they end, of items with their results, and of items whose call met trouble.
    Trouble (a PrefloopError of a call, any of the next item), or an exception of `check`, which is asked twice a
    second, ends it: calls in flight are waited for and told of first. Then it is raised. After `check` raised, a call
    that is in a pass of a model drops it and counts as one that met trouble. An item None: the next one
    can't be called before a call has ended. `meanwhile` is called as often as `check`, also while the last calls are
    waited for, then with False.
    """
    waiting = iter(items)
    running: dict[Future[R], T] = {}
    trouble: BaseException | None = None
    answered = False
    told_to_stop = threading.Event()

    def look() -> None:
        if told_to_stop.is_set():
            raise _Stopped("told to stop")

    def interruptible(item: T) -> R:
        with interrupted_by(look):
            return call(item)

    with ThreadPoolExecutor(at_once) as pool:
        while True:
            # one alone first: a wrong URL, or a server that is down, is found by one call
            while trouble is None and len(running) < (at_once if answered else 1):
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                except BaseException as error:  # noqa: BLE001 - a job's stop is no Exception; it is raised below
                    trouble = error
                    break
                if item is None:
                    break
                running[pool.submit(interruptible, item)] = item
            if not running:
                break
            ended, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            results: list[tuple[T, R]] = []
            failed: list[T] = []
            for future in ended:
                item = running.pop(future)
                try:
                    results.append((item, future.result()))
                except PrefloopError as error:
                    trouble = trouble or error
                    failed.append(item)
            if ended:
                on_ended(results, failed)
            answered = answered or bool(results)
            meanwhile(trouble is None)
            if trouble is None:
                try:
                    check()
                except BaseException as stop:  # noqa: BLE001 - a job's stop is no Exception; it is raised below
                    trouble = stop
                    told_to_stop.set()
    if trouble is not None:
        raise trouble
