"""A run that is told to leave does so within a pass, and one that is killed loses two minutes or a step at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefloop.engine import run, train
from prefloop.recipes.events import read_events

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


def steps_of(run_dir: Path, kind: str) -> list[int | None]:
    return [event.step for event in read_events(run_dir / "events.jsonl")[0] if event.type == kind]


def in_the_middle_of(run_dir: Path, step: int) -> Callable[[], bool]:
    """Ask to leave once the step before has been said, but not at the look before the next one begins."""
    looks = []

    def should_leave() -> bool:
        if step - 1 in steps_of(run_dir, "metric"):
            looks.append(step)
        return len(looks) > 1

    return should_leave


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_a_step_is_left_in_its_middle_and_taken_again_to_the_same_weights(
    kind: str, make_run: MakeRun, story: Story
) -> None:
    straight, left = (make_run(name, kind=kind, token_budget=64) for name in ("straight", "left"))
    train.run(straight)
    ended = train.run(left, should_leave=(told := in_the_middle_of(left, 3)), at_once=told)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 2)
    assert steps_of(left, "metric") == [1, 2]
    assert (left / "step-000002" / "manifest.json").exists()
    assert train.run(left).exit_code == 0
    assert story(left) == story(straight)


@pytest.mark.parametrize("method", ["dpo", "ppo"])
def test_a_step_that_samples_is_left_before_it_learns(
    method: str, make_online: Callable[..., Path], story: Story
) -> None:
    straight, left = make_online(method, "straight"), make_online(method, "left")
    train.run(straight)
    ended = train.run(left, should_leave=(told := in_the_middle_of(left, 2)), at_once=told)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 1)
    assert train.run(left).exit_code == 0
    assert story(left) == story(straight)


def test_slow_steps_are_each_saved_however_seldom_the_settings_say(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [0.0]

    def minutes_later() -> float:
        at[0] += 70.0
        return at[0]

    monkeypatch.setattr(run, "monotonic", minutes_later)
    run_dir = make_run(save_every=25)
    train.run(run_dir)
    saved = steps_of(run_dir, "checkpoint")
    assert saved == [2, 4]
    assert len(steps_of(run_dir, "metric")) == 5
