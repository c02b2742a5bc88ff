from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefloop.confined import (
    GivesTooMuch,
    Helper,
    LimitExceeded,
    Limits,
    NeedsTooMuchMemory,
    NestedTooDeeply,
    ReaderFailed,
    TakesTooLong,
    call,
    forked,
    stream,
)
from prefloop.confined.forked import nursery
from prefloop.types import PrefloopError
from tests.prefloop import confined_functions as functions


def _is_gone(pid: int) -> bool:
    """No longer there, or ended and not yet reaped by whoever got it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 15
    while not _is_gone(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_values_come_in_order_and_as_they_are() -> None:
    assert list(stream(functions.count, 5000)) == list(range(5000))
    assert [len(value) for value in stream(functions.sizes, 300)] == list(range(300))
    assert call(functions.double, "ab") == "abab"
    assert call(functions.double, [1, None, "é"]) == [1, None, "é"] * 2


def test_more_than_a_pipe_holds_comes_through() -> None:
    assert call(functions.large, 9) == bytes(9 << 20)
    assert call(functions.double, "x" * 3_000_000) == "x" * 6_000_000


def test_a_refusal_comes_after_what_was_given_before() -> None:
    values = stream(functions.refuse_after, 3)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(PrefloopError, match=r"^line 3: prompt is missing$"):
        next(values)


def test_a_refusal_keeps_its_class_and_text() -> None:
    from prefloop.formats.opening import UnreadableFile
    from prefloop.formats.registry import columns_of

    with pytest.raises(PrefloopError) as caught:
        call(functions.columns_of_text, "/nowhere/x.docx")
    with pytest.raises(UnreadableFile) as plain:
        columns_of(Path("/nowhere/x.docx"))
    assert type(caught.value) is UnreadableFile
    assert str(caught.value) == str(plain.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "arguments", "error", "says"),
    [
        (functions.allocate, [5_000], NeedsTooMuchMemory, "x.json needs more than 64 MB of memory"),
        (functions.grow, [], NeedsTooMuchMemory, "x.json needs more than 64 MB of memory"),
        (functions.spin, [], TakesTooLong, "x.json takes more than 1 seconds of processor time"),
        (functions.nest, [], NestedTooDeeply, "x.json is nested too deeply to be read"),
        (functions.large, [3], GivesTooMuch, "x.json becomes larger than 2 MB when it is read"),
        (
            functions.crash,
            [],
            ReaderFailed,
            "x.json could not be read: the process that read it died (SIGSEGV); it may need more than 64 MB of memory",
        ),
        (functions.broken, [], ReaderFailed, "x.json could not be read (KeyError: 'prompt')"),
    ],
)
def test_each_limit_has_an_error_of_its_own(
    function: Callable[..., Any], arguments: list[Any], error: type[PrefloopError], says: str
) -> None:
    limits = Limits(memory_mb=64, cpu_seconds=1, wait_seconds=60, value_bytes=2 << 20)
    before = time.monotonic()
    with pytest.raises(error) as caught:
        call(function, *arguments, limits=limits, what="x.json")
    assert type(caught.value) is error
    assert str(caught.value) == says
    assert time.monotonic() - before < 50


@pytest.mark.slow
def test_memory_within_the_limit_may_be_used() -> None:
    assert call(functions.allocate, 200, limits=Limits(memory_mb=256)) == 200 << 20
    with pytest.raises(NeedsTooMuchMemory):
        call(functions.allocate, 300, limits=Limits(memory_mb=256))


@pytest.mark.slow
def test_waiting_has_an_end() -> None:
    before = time.monotonic()
    with pytest.raises(TakesTooLong, match=r"takes more than 0\.3 seconds"):
        call(functions.sleep, limits=Limits(wait_seconds=0.3))
    assert time.monotonic() - before < 10


@pytest.mark.slow
def test_what_the_caller_does_between_two_values_is_not_waiting() -> None:
    values = stream(functions.endless, limits=Limits(wait_seconds=0.2))
    end = time.monotonic() + 0.4
    while time.monotonic() < end:  # the process waits for us at its full pipe
        pass
    assert len(next(values)) == 1 << 20
    while time.monotonic() < end + 0.4:
        pass
    assert len(next(values)) == 1 << 20


def test_an_endless_stream_ends_at_what_may_come_out() -> None:
    values = stream(functions.endless, limits=Limits(output_bytes=8 << 20))
    assert sum(len(next(values)) for _ in range(7)) == 7 << 20
    with pytest.raises(GivesTooMuch, match="larger than 8 MB"):
        sum(map(len, values))


def test_the_process_ends_when_the_caller_leaves() -> None:
    values = stream(functions.processes)
    pid = next(values)
    assert not _is_gone(pid)
    values.close()
    assert _is_gone(pid)


def test_it_knows_no_secret_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", "a-canary")
    monkeypatch.setenv("DATABASE_URL", "postgres://a-canary")
    nursery.close()  # the next is started with this environment around
    told = call(functions.surroundings)
    assert "canary" not in str(told["environment"]) + told["at_start"] + told["nursery_at_start"]
    assert "SECRET_KEY" not in told["at_start"] + told["nursery_at_start"]
    assert told["core"] == [0, 0]
    assert told["group"]
    assert told["files"] <= 8
    with pytest.raises(ReaderFailed, match="File too large"):
        call(functions.write, str(tmp_path / "file"))
    assert (tmp_path / "file").stat().st_size == 0


@pytest.mark.slow
def test_a_nursery_has_one_thread_and_no_file_but_its_sockets() -> None:
    """Whatever of ours was imported into it: a fork takes one thread along, and every open file."""
    modules = ["prefloop.formats.guarded", "prefloop.chat_templates.child", "prefloop.judging.rules.limited_child"]
    nursery.close()  # other tests may have left helpers that stay, each with two files in the nursery
    told = call(functions.surroundings, imports=[*modules, "pyarrow.parquet", "jsonschema"])
    assert told["nursery_threads"] == 1
    # null and control; the child's life as a socket and as a file to wait on; the pipes of no child
    assert len(told["nursery_files"]) <= 5
    again = call(functions.surroundings)
    assert (again["nursery"], len(again["nursery_files"])) == (told["nursery"], len(told["nursery_files"]))


def test_a_child_finds_nothing_of_the_tasks_before_it() -> None:
    word = "a-canary-of-the-first-task"
    assert call(functions.remembers, word[::-1], word)
    assert not call(functions.remembers, word[::-1])


def test_what_a_child_started_ends_with_it() -> None:
    pids = list(stream(functions.start_another))
    assert len(pids) == 2
    for pid in pids:
        _wait_until_gone(pid)


@pytest.mark.slow
def test_a_child_that_closes_its_pipes_is_ended_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_END_SECONDS", 0.3)
    before = time.monotonic()
    with pytest.raises(ReaderFailed):
        call(functions.hide)
    assert time.monotonic() - before < 10


@pytest.mark.slow
def test_a_nursery_that_dies_takes_its_children_along_and_another_is_started() -> None:
    told = call(functions.surroundings)
    values = stream(functions.processes)
    child = next(values)
    os.kill(told["nursery"], signal.SIGKILL)
    with pytest.raises(ReaderFailed, match="no process for it came up, or it could not be watched"):
        sum(values)
    _wait_until_gone(child)
    assert call(functions.surroundings)["nursery"] != told["nursery"]


@pytest.mark.slow
def test_all_end_with_the_caller_and_a_fork_of_the_caller_has_a_nursery_of_its_own() -> None:
    code = """
import os, time
from prefloop.confined import call, stream
from tests.prefloop import confined_functions as functions
values = stream(functions.processes)
print(call(functions.surroundings)["nursery"], next(values), flush=True)
if os.fork() == 0:
    print(call(functions.surroundings)["nursery"], flush=True)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(600)
"""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as caller:
        assert caller.stdout is not None
        first, child, forks = (int(pid) for pid in caller.stdout.readline().split() + caller.stdout.readline().split())
        assert caller.stdout.readline() == "ready\n"
        assert forks != first
        _wait_until_gone(forks)
        assert not _is_gone(first)
        assert not _is_gone(child)
        caller.kill()
    _wait_until_gone(first)
    _wait_until_gone(child)


def test_a_library_that_prints_does_no_harm() -> None:
    assert call(functions.say) == 1


@pytest.mark.slow
def test_a_helper_stays_and_each_call_has_the_limits_for_itself() -> None:
    with Helper(functions.work, limits=Limits(cpu_seconds=1, wait_seconds=20), what="the template") as helper:
        pids = {helper.ask(0.4) for _ in range(5)}  # two seconds of work in all
        assert len(pids) == 1
    assert _is_gone(pids.pop())


@pytest.mark.slow
def test_a_helper_goes_on_after_a_refusal_and_starts_again_after_a_limit() -> None:
    with Helper(functions.double, limits=Limits(cpu_seconds=1, wait_seconds=20), what="the template") as helper:
        assert helper.ask(2) == 4
        with pytest.raises(PrefloopError, match=r"^no$"):
            helper.ask("refuse")
        assert helper.ask(3) == 6
        with pytest.raises(LimitExceeded, match="the template takes more than 1 seconds"):
            helper.ask("spin")
        assert helper.ask(4) == 8


def test_a_helper_goes_on_after_its_nursery_has_died() -> None:
    with Helper(functions.double) as helper:
        assert helper.ask(2) == 4
        process = nursery.process
        assert process is not None
        process.kill()
        process.wait()
        assert helper.ask(3) == 6


@pytest.mark.slow
def test_it_costs_the_caller_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NeedsTooMuchMemory):
        call(functions.grow, limits=Limits(memory_mb=512))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
