"""Metrics mirrored to a tracker: each step once, rounds one after the other, under their names."""

from __future__ import annotations

import threading

import pytest

from prefloop import trackers
from prefloop.recipes.events import EventWriter
from prefloop.trackers import NoRun, TrackerMissing, mirror


class Kept:
    """A sink that keeps what it is told."""

    told: list = []
    closed = 0

    def __init__(self, where, name):
        self.where, self.name = where, name

    def write(self, step, at, values):
        Kept.told.append((step, at, dict(values)))

    def close(self):
        Kept.closed += 1


@pytest.fixture
def kept(monkeypatch):
    Kept.told, Kept.closed = [], 0
    monkeypatch.setattr(trackers, "SINKS", {"tensorboard": Kept})
    return Kept


def write_run(folder, steps, *, ends=True):
    folder.mkdir(parents=True, exist_ok=True)
    clock = iter(range(1000, 2000))
    writer = EventWriter(folder / "events.jsonl", now=lambda: float(next(clock)))
    writer.write("start", step=0, n_rows=4, n_steps=len(steps))
    for step, loss in steps:
        writer.write("metric", step=step, values={"loss": loss, "rewards/margins": 2 * loss, "word": "x"})
    if ends:
        writer.write("end", step=steps[-1][0], status="done")
    writer.close()
    return folder


def test_rounds_are_one_curve_and_only_numbers_go(kept, tmp_path):
    runs = [write_run(tmp_path / "1", [(1, 0.5), (2, 0.4)]), write_run(tmp_path / "2", [(1, 0.3)])]
    assert mirror(runs, to="tensorboard") == 3
    assert [(step, values) for step, _, values in kept.told] == [
        (1, {"loss": 0.5, "rewards/margins": 1.0}),
        (2, {"loss": 0.4, "rewards/margins": 0.8}),
        (3, {"loss": 0.3, "rewards/margins": 0.6}),
    ]
    assert [at for _, at, _ in kept.told] == [1001.0, 1002.0, 1001.0]
    assert kept.closed == 1


def test_what_a_resume_superseded_is_told_once_as_it_was_in_the_end(kept, tmp_path):
    folder = write_run(tmp_path / "run", [(1, 0.5), (2, 9.0)], ends=False)
    writer = EventWriter(folder / "events.jsonl")
    writer.write("resume", step=1, checkpoint="step-000001")
    writer.write("metric", step=2, values={"loss": 0.4})
    writer.write("end", step=2, status="done")
    writer.close()
    assert mirror([folder], to="tensorboard") == 2
    assert [(step, values["loss"]) for step, _, values in kept.told] == [(1, 0.5), (2, 0.4)]


@pytest.mark.slow
def test_following_waits_for_more_until_the_run_ends(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "LOOK_SECONDS", 0.01)
    folder = write_run(tmp_path / "run", [(1, 0.5)], ends=False)
    following = threading.Thread(target=mirror, args=([folder],), kwargs={"to": "tensorboard", "follow": True})
    following.start()
    following.join(0.2)
    assert following.is_alive()
    assert [step for step, _, _ in kept.told] == [1]
    writer = EventWriter(folder / "events.jsonl")
    writer.write("end", step=1, status="left")  # it was told to leave: it comes back
    writer.write("metric", step=1, values={"loss": 0.5})
    writer.write("metric", step=2, values={"loss": 0.4})
    writer.write("end", step=2, status="done")
    writer.close()
    following.join(10)
    assert not following.is_alive()
    assert [step for step, _, _ in kept.told] == [1, 2]


def test_what_is_not_there_is_one_line(kept, tmp_path, capsys):
    with pytest.raises(NoRun, match=r"holds no events\.jsonl"):
        mirror([tmp_path], to="tensorboard")
    assert trackers.main([str(tmp_path), "--to", "tensorboard"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert kept.told == []


def test_a_tracker_that_is_not_installed_says_how_to_install_it(tmp_path, monkeypatch):
    class Missing:
        def __init__(self, where, name):
            raise ImportError("No module named 'trackio'")

    monkeypatch.setattr(trackers, "SINKS", {"trackio": Missing})
    with pytest.raises(TrackerMissing, match=r"pip install 'prefloop\[trackio\]'"):
        mirror([write_run(tmp_path / "run", [(1, 0.5)])], to="trackio")


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard", reason="tracker: tensorboard is not installed (prefloop[tensorboard])")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = write_run(tmp_path / "run", [(1, 0.5), (2, 0.25)])
    assert trackers.main([str(run), "--to", "tensorboard", "--where", str(tmp_path / "logs"), "--name", "loop-1"]) == 0
    found = EventAccumulator(str(tmp_path / "logs" / "loop-1")).Reload()
    assert set(found.Tags()["scalars"]) == {"loss", "rewards/margins"}
    assert [(one.step, one.wall_time, one.value) for one in found.Scalars("loss")] == [
        (1, 1001.0, 0.5),
        (2, 1002.0, 0.25),
    ]
    assert [one.value for one in found.Scalars("rewards/margins")] == [1.0, 0.5]
