"""Passes that fit into memory: planned before the first, kept for a resume, halved where one does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine import learner, passes, references, train
from prefloop.memory import most_held_bytes
from prefloop.policy import scoring
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events

MakeRun = Callable[..., Path]


def losses(run_dir: Path) -> list[float]:
    events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
    return [event.data["values"]["loss"] for event in events if event.type == "metric"]


def said(run_dir: Path) -> list[str]:
    return [event.data["message"] for event in read_events(run_dir / "events.jsonl")[0] if event.type == "log"]


def plan(run_dir: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((run_dir / "passes.json").read_text("utf-8"))
    return found


def refuse_above(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, tokens: int, seen: list[int]) -> None:
    """Let passes of more tokens than that fail as they do on a card that is full."""
    real = getattr(module, name)

    def limited(model: Any, rows: Any, *, token_budget: int) -> Any:
        made = real(model, rows, token_budget=token_budget)
        seen.append(token_budget)
        if max((piece.packed.n_tokens for piece in made), default=0) > tokens:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        return made

    monkeypatch.setattr(module, name, limited)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_out_of_memory_halves_the_passes_and_goes_on(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    settings: dict[str, Any] = {"adapter": Adapter(kind=adapter, rank=4, dropout=0.1), "objective": {"epochs": 2}}
    whole, short = make_run("whole", **settings), make_run("short", **settings)
    assert train.run(whole).exit_code == 0
    seen: list[int] = []
    refuse_above(monkeypatch, learner, "pieces_of", 128, seen)
    assert train.run(short).exit_code == 0
    assert seen[0] > 128 >= seen[-1]
    assert [line for line in said(short) if line.startswith("out of memory")]
    assert plan(short)["tokens"] == seen[-1] < plan(whole)["tokens"]
    if adapter == "none":  # dropout depends on how rows are packed
        assert losses(short) == pytest.approx(losses(whole), abs=1e-5)
    names = [event.data["values"].keys() for event in read_events(short / "events.jsonl")[0] if event.type == "metric"]
    assert len(names) == 10


@pytest.mark.slow
def test_a_run_tells_the_most_memory_that_it_held(make_run: MakeRun) -> None:
    run_dir = make_run("run")
    before = most_held_bytes()
    assert train.run(run_dir).exit_code == 0
    told = [event.data["peak"] for event in read_events(run_dir / "events.jsonl")[0] if event.type in ("metric", "end")]
    assert {one["device"] for one in told} == {"cpu"}
    sizes = [one["bytes"] for one in told]
    roughly = 2**21  # the system counts so
    assert before - roughly < sizes[0] < sizes[-1] + roughly
    assert sizes[-1] < most_held_bytes() + roughly


@pytest.mark.slow
def test_the_reference_pass_is_halved_too(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, short = make_run("whole"), make_run("short")
    assert train.run(whole).exit_code == 0
    refuse_above(monkeypatch, references, "pieces_of", 100, [])
    assert train.run(short).exit_code == 0
    assert losses(short) == pytest.approx(losses(whole), abs=1e-5)
    assert len([line for line in said(short) if line.startswith("out of memory")]) > 1


def test_the_smallest_passes_that_do_not_fit_end_the_run(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    refuse_above(monkeypatch, learner, "pieces_of", 0, [])
    ended = train.run(run)
    assert ended.failure is not None
    assert ended.failure.failure_class == "out_of_memory"
    assert "layers compute their activations again" in said(run)[-1]


@pytest.mark.slow
def test_a_pass_that_fails_in_its_backward_leaves_no_part_of_a_gradient(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, short = make_run("whole", token_budget=64), make_run("short", token_budget=128)
    assert train.run(whole).exit_code == 0
    real, calls = learner.backward, []

    def failing(*args: Any, **named: Any) -> float:
        value = real(*args, **named)
        calls.append(value)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        return value

    monkeypatch.setattr(learner, "backward", failing)
    assert train.run(short).exit_code == 0
    assert plan(short)["tokens"] == 64
    assert losses(short) == losses(whole)


@pytest.mark.slow
def test_rows_that_would_not_fit_compute_their_activations_again(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"adapter": Adapter(kind="lora", rank=4), "objective": {"epochs": 2}}
    plain, spare = make_run("plain", **settings), make_run("spare", **settings)
    assert train.run(plain).exit_code == 0
    asked: list[bool] = []
    monkeypatch.setattr(passes, "available_bytes", lambda: 0)
    real = learner.ready_to_step

    def watched(model: Any, *, spare_memory: bool) -> None:
        asked.append(spare_memory and scoring.runs_flat(model))  # still without padding
        real(model, spare_memory=spare_memory)

    monkeypatch.setattr(learner, "ready_to_step", watched)
    assert train.run(spare).exit_code == 0
    assert plan(spare) == {"tokens": 64, "longest_kept": 0, "sharded": False, "processes": 1}
    assert asked
    assert all(asked)
    assert losses(spare) == pytest.approx(losses(plain), abs=1e-5)


@pytest.mark.slow
def test_a_resumed_run_makes_the_passes_it_began_with(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(objective={"epochs": 2})
    asked = iter([False] * 9 + [True])
    train.run(run, should_leave=lambda: next(asked))
    began = plan(run)
    monkeypatch.setattr(passes, "available_bytes", lambda: 0)
    assert train.run(run).exit_code == 0
    assert plan(run) == began
