"""A run that is told to leave does so within a pass, and one that is killed loses two minutes or a step at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefloop.engine import context, references, run, train
from prefloop.engine.learner import Learner
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_step_is_saved_if_another_like_it_would_end_too_late(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [0.0]

    def later() -> float:
        at[0] += 10.0
        return at[0]

    monkeypatch.setattr(run, "monotonic", later)
    run_dir = make_run(save_every=25, save_seconds=65.0)  # a step takes 10 s here, and 10 s pass between two
    train.run(run_dir)
    assert steps_of(run_dir, "checkpoint") == [3]
    assert len(steps_of(run_dir, "metric")) == 5


@pytest.mark.slow
def test_how_often_a_run_saves_is_no_part_of_what_it_computes(make_run: MakeRun, story: Story) -> None:
    often, seldom = make_run("often", save_seconds=0.0), make_run("seldom")
    train.run(often)
    train.run(seldom)
    assert steps_of(often, "checkpoint") == [1, 2, 3, 4]
    assert steps_of(seldom, "checkpoint") == []
    assert story(often) == story(seldom)


@pytest.mark.slow
def test_a_pass_is_left_between_two_layers(make_run: MakeRun, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, left = make_run("straight"), make_run("left")
    train.run(straight)
    inside: list[str] = []
    monkeypatch.setattr(Learner, "_between", lambda _: inside.append("pass"))  # no look between two passes

    def at_once() -> bool:
        if len(inside) == 2:
            inside.append("layer")
        return inside[-1:] == ["layer"]

    ended = train.run(left, at_once=at_once)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 1)
    monkeypatch.undo()
    assert train.run(left).exit_code == 0
    assert story(left) == story(straight)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_step_that_has_changed_the_weights_ends_in_time_or_is_dropped(
    seconds: float, make_online: Callable[..., Path], story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, left = make_online("ppo", "straight"), make_online("ppo", "left", save_every=1)
    train.run(straight)
    monkeypatch.setattr(context, "_FINISH_SECONDS", seconds)
    contexts: list[context.RunContext] = []
    begin = context.RunContext.step_begins
    monkeypatch.setattr(context.RunContext, "step_begins", lambda ctx: (contexts.append(ctx), begin(ctx)))

    def told() -> bool:
        return len(contexts) > 1 and (contexts[1].moved or len(contexts) > 2)

    ended = train.run(left, should_leave=lambda: len(contexts) > 1, at_once=told)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 1 if seconds == 0 else 2)
    assert train.run(left).exit_code == 0
    assert story(left) == story(straight)


@pytest.mark.slow
def test_a_reference_reading_goes_on_with_the_pass_that_comes_next(
    make_run: MakeRun, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, left = (make_run(name, token_budget=64) for name in ("straight", "left"))
    passes: list[str] = []
    run_pass = references.token_logps
    monkeypatch.setattr(
        references, "token_logps", lambda model, piece: (run_pass(model, piece), passes.append("made"))[0]
    )
    train.run(straight)
    n_passes = len(passes)
    assert n_passes > 10
    passes.clear()
    for at in (3, 4):  # twice in one batch
        ended = train.run(left, at_once=lambda at=at: len(passes) >= at)
        assert ended.outcome is not None
        assert ended.outcome.status == "left"
        assert len(passes) == at
    assert train.run(left).exit_code == 0
    assert len(passes) == n_passes
    assert (left / "reference" / "sums.jsonl").read_bytes() == (straight / "reference" / "sums.jsonl").read_bytes()
    assert not list((left / "reference").glob("*.part"))
    assert story(left) == story(straight)
