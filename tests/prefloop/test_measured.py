"""What a machine was measured to do is kept, and asked for again by whatever process comes next."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from prefloop import measured
from prefloop.measured import measured_once, remembered


def test_what_was_measured_is_kept_for_this_processor_torch_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, calls = tmp_path / "new", []

    def measure() -> dict[str, float]:
        calls.append(1)
        return {"rate": float(len(calls))}

    assert measured_once(folder, "matrix", measure, threads=1) == {"rate": 1.0}
    assert measured_once(folder, "matrix", measure, threads=1) == {"rate": 1.0}
    assert remembered(folder, "matrix", threads=1) == {"rate": 1.0}
    assert remembered(folder, "other", threads=1) is None
    assert measured_once(folder, "matrix", measure, threads=2) == {"rate": 2.0}
    monkeypatch.setattr(measured, "processor", lambda: "another")
    assert remembered(folder, "matrix", threads=1) is None
    assert measured_once(folder, "matrix", measure, threads=1) == {"rate": 3.0}
    monkeypatch.undo()
    assert remembered(folder, "matrix", threads=1) == {"rate": 1.0}
    assert measured_once(None, "matrix", measure, threads=1) == {"rate": 4.0}


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 3}'])
def test_a_damaged_file_is_measured_and_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / measured.FILE).write_text(content)
    assert remembered(tmp_path, "matrix", threads=1) is None
    assert measured_once(tmp_path, "matrix", lambda: {"rate": 1}, threads=1) == {"rate": 1}
    assert remembered(tmp_path, "matrix", threads=1) == {"rate": 1}


def test_those_who_ask_at_the_same_time_get_one_answer(tmp_path: Path) -> None:
    begun, calls, found = threading.Event(), [], []

    def measure() -> dict[str, int]:
        calls.append(1)
        begun.wait(5)
        return {"rate": len(calls)}

    def ask() -> None:
        found.append(measured_once(tmp_path, "matrix", measure, threads=1))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join(10)
    assert found == [{"rate": 1}] * 4


def test_the_processor_is_named_with_what_decides_its_speed() -> None:
    assert measured.processor().strip()
    assert "threads 3" in measured.machine(3)
