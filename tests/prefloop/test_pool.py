"""Calls made several at a time: what is told, and what ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from prefloop.interrupting import ask
from prefloop.pool import call_all
from prefloop.types import PrefloopError


class Told:
    def __init__(self) -> None:
        self.results: list[tuple[int, int]] = []
        self.failed: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, results: list[tuple[int, int]], failed: list[int]) -> None:
        self.results += results
        self.failed += failed
        self.threads.add(threading.get_ident())


def test_every_result_is_told_in_the_callers_thread() -> None:
    told = Told()
    call_all(lambda item: item * item, range(20), at_once=4, on_ended=told)
    assert sorted(told.results) == [(item, item * item) for item in range(20)]
    assert told.threads == {threading.get_ident()}


def test_no_more_than_so_many_run_at_once_and_the_first_alone() -> None:
    lock, running, most = threading.Lock(), 0, []
    together = threading.Barrier(3)

    def call(item: int) -> int:
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        if item:  # those after the first meet three by three
            together.wait(timeout=30)
        with lock:
            running -= 1
        return item

    call_all(call, range(7), at_once=3, on_ended=Told())
    assert most[0] == 1
    assert max(most) == 3


def test_a_computation_is_dropped_when_the_check_says_stop_and_no_trouble_drops_it() -> None:
    told, looks = Told(), []

    def call(item: int) -> int:
        for _ in range(2000):  # 20 s
            ask()
            time.sleep(0.01)
        return item

    def check() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call_all(call, range(3), at_once=2, on_ended=told, check=check)
    assert time.monotonic() - began < 10
    assert (told.results, told.failed) == ([], [0])


def test_trouble_ends_it_when_the_calls_in_flight_are_told() -> None:
    told, both = Told(), threading.Barrier(2)

    def call(item: int) -> int:
        if item in (1, 2):
            both.wait(timeout=30)
        if item == 1:
            raise PrefloopError("the judge is gone")
        if item > 2:  # on a busy machine the trouble may be heard of late
            time.sleep(0.02)
        return item

    with pytest.raises(PrefloopError, match="the judge is gone"):
        call_all(call, range(100), at_once=2, on_ended=told)
    assert {item for item, _ in told.results} >= {0, 2}
    assert told.failed == [1]
    assert len(told.results) < 99


def test_an_item_that_may_not_be_asked_ends_it_too() -> None:
    told = Told()

    def items() -> Iterator[int]:
        yield 0
        raise PrefloopError("the cap is reached")

    with pytest.raises(PrefloopError, match="the cap is reached"):
        call_all(lambda item: item, items(), at_once=2, on_ended=told)
    assert told.results == [(0, 0)]


def test_a_stop_is_raised_after_what_was_answered_is_told() -> None:
    told = Told()

    def check() -> None:
        if told.results:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_all(lambda item: item, range(100), at_once=1, on_ended=told, check=check)
    assert told.results == [(0, 0)]
