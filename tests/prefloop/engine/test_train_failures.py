"""Runs that fail: whose the failure is, and one line that says it."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.checkpoints import verify_manifest
from prefloop.engine import learner, resume, train
from prefloop.policy.loading import load_policy, save_model
from prefloop.recipes.events import Event, read_events
from prefloop.recipes.runspec import RunFailure, read_failure, read_spec
from prefloop.types import TrainingPair

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


def events_of(run_dir: Path) -> list[Event]:
    return read_events(run_dir / "events.jsonl")[0]


def leave_before(step: int, run_dir: Path) -> Callable[[], bool]:
    """A SIGTERM that arrives while the step before `step` is worked on."""
    return lambda: any(event.type == "metric" and (event.step or 0) >= step - 1 for event in events_of(run_dir))


def failed(run_dir: Path, failure_class: str, exit_code: int) -> str:
    ended = train.run(run_dir)
    assert ended.exit_code == exit_code
    failure = read_failure(run_dir)
    assert failure is not None
    assert failure.failure_class == failure_class
    assert "\n" not in failure.message
    end = events_of(run_dir)[-1]
    assert (end.type, end.data["failure_class"], end.data["message"]) == ("end", failure_class, failure.message)
    return failure.message


def respec(run_dir: Path, **changes: Any) -> None:
    data = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps({**data, **changes}))


def test_a_start_model_that_is_not_there_is_the_users(make_run: MakeRun) -> None:
    run_dir = make_run()
    respec(run_dir, start="/nowhere")
    assert "/nowhere is not a directory" in failed(run_dir, "user_config", 2)


def test_another_snapshot_than_the_runs_own_is_a_matter_of_data(make_run: MakeRun) -> None:
    run_dir = make_run()
    with (run_dir / "snapshot.jsonl").open("a") as stream:
        stream.write("\n")
    assert "its SHA-256 differs" in failed(run_dir, "data", 3)


def test_a_row_longer_than_the_model_is_a_matter_of_data(make_run: MakeRun) -> None:
    run_dir = make_run(rows=[TrainingPair("r1", "p", "a" * 2000, "b", p_first=1.0)])
    assert "row 'r1' has" in failed(run_dir, "data", 3)


def test_a_loss_that_is_not_finite_stops_and_says_what_to_lower(make_run: MakeRun, monkeypatch: Any) -> None:
    run_dir = make_run()
    monkeypatch.setattr(learner, "backward", lambda *_, **__: math.nan)
    message = failed(run_dir, "user_config", 2)
    assert "not a finite number at step 1 (learning rate 0.001): lower objective.lr" in message
    assert read_failure(run_dir) == RunFailure(failure_class="user_config", message=message, step=1)


def test_a_start_model_of_broken_numbers_is_refused(make_run: MakeRun) -> None:
    run_dir = make_run()
    broken = load_policy(read_spec(run_dir).start)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    save_model(broken.model, broken.tokenizer, run_dir / "broken")
    respec(run_dir, start=str(run_dir / "broken"))
    assert "the weights model.norm.weight of the start model" in failed(run_dir, "user_config", 2)


def test_no_room_for_a_checkpoint_is_found_out_before_training(make_run: MakeRun, monkeypatch: Any) -> None:
    run_dir = make_run()
    usage = shutil.disk_usage(run_dir)
    monkeypatch.setattr(resume.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "a checkpoint needs" in failed(run_dir, "out_of_disk", 5)


@pytest.mark.slow
def test_a_disk_that_fills_up_in_a_save_leaves_earlier_checkpoints_intact(
    make_run: MakeRun, story: Story, monkeypatch: Any
) -> None:
    straight, broken = (make_run(name, save_every=1) for name in ("straight", "broken"))
    train.run(straight)
    save_file, n_calls = resume.save_file, 0

    def full(tensors: Any, path: Path) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 7:  # the optimizer of step 3
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    with monkeypatch.context() as patched:
        patched.setattr(resume, "save_file", full)
        assert "the disk is full" in failed(broken, "out_of_disk", 5)
    assert [path.name for path in resume.step_dirs(broken)] == ["step-000002", "step-000001"]
    assert all(verify_manifest(path) for path in resume.step_dirs(broken))
    assert not list(broken.glob("*.tmp-*"))
    assert train.run(broken).exit_code == 0  # with room again it goes on
    assert not (broken / "failure.json").exists()
    assert story(broken) == story(straight)


def test_running_out_of_memory_is_told_apart_from_our_own_mistakes() -> None:
    assert train.classify(torch.OutOfMemoryError("CUDA out of memory")) == "out_of_memory"
    assert train.classify(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")) == "out_of_memory"
    assert train.classify(RuntimeError("shape mismatch")) == "internal"
    assert train.classify(OSError(errno.ENOSPC, "No space left on device")) == "out_of_disk"


@pytest.mark.slow
def test_other_settings_in_a_directory_with_checkpoints_are_refused(make_run: MakeRun) -> None:
    run_dir = make_run(save_every=1)
    train.run(run_dir, should_leave=leave_before(3, run_dir))
    data = json.loads((run_dir / "spec.json").read_text())
    respec(run_dir, objective={**data["objective"], "beta": 0.7})
    assert "other settings" in failed(run_dir, "user_config", 2)


@pytest.mark.slow
def test_two_processes_never_train_in_one_directory(make_run: MakeRun) -> None:
    run_dir = make_run()
    seen: list[str] = []

    def second() -> bool:
        with pytest.raises(train.Busy, match="another process is training"):
            train.run(run_dir)
        seen.append("busy")
        return False

    assert train.run(run_dir, should_leave=second).exit_code == 0
    assert seen
