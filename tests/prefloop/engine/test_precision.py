"""bf16 weights with an optimizer in fp32, and activations that are computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prefloop.engine import train
from prefloop.engine.hardware import ready_to_step, spare_activations
from prefloop.engine.optimizer import gradients, make_optimizer
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.scoring import forward_logps
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import EXIT_LEFT

MakeRun = Callable[..., Path]


def losses(run_dir: Path) -> list[float]:
    events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
    return [event.data["values"]["loss"] for event in events if event.type == "metric"]


@pytest.mark.slow
def test_small_steps_are_not_lost_in_bf16() -> None:
    settings = Objective(lr=1e-4)

    def walk(dtype: torch.dtype, make: Callable[[Any], torch.optim.Optimizer]) -> float:
        model = torch.nn.Linear(1, 1, bias=False).to(dtype)
        with torch.no_grad():
            model.weight.fill_(1.0)
        optimizer = make(model)
        for _ in range(400):
            optimizer.zero_grad()
            model(torch.ones(1, 1, dtype=dtype)).sum().backward()
            optimizer.step()
        return float(model.weight.detach())

    # a constant gradient of 1: each of AdamW's steps is the learning rate, so 400 of them are 0.04
    ours = walk(torch.bfloat16, lambda model: make_optimizer(model, settings))
    assert ours == pytest.approx(0.96, abs=2**-9)  # half of a bf16 step below 1
    assert walk(torch.float32, lambda model: make_optimizer(model, settings)) == pytest.approx(0.96, abs=1e-5)
    # without the copy in fp32 nothing moves at all
    assert walk(torch.bfloat16, lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)) == 1.0


def test_gradients_of_many_passes_add_up_in_fp32() -> None:
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    optimizer = make_optimizer(model, Objective())
    for value in (1.0, *[2.0**-9] * 64):  # each too small to change a bf16 sum of 1
        (model.weight * value).sum().backward()
    (master,) = gradients(optimizer)
    assert float(master.grad) == 1.125
    assert model.weight.grad is None


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [Adapter(kind="none"), Adapter(kind="lora", rank=4)], ids=["full", "lora"])
def test_a_bf16_run_follows_the_fp32_one(make_run: MakeRun, adapter: Adapter) -> None:
    settings = {"adapter": adapter, "objective": {"epochs": 3, "lr": 2e-3}}
    full, half = make_run("full", **settings), make_run("half", precision="bfloat16", **settings)
    for run in (full, half):
        assert train.run(run).exit_code == 0
    exact, rounded = losses(full), losses(half)
    # policy and reference round alike, but for what a processor's kernels do with another shape
    assert [exact[0], rounded[0]] == pytest.approx([0.6931472] * 2, abs=1e-6)
    # 3 significant digits a number: sums of some 20 log-probs of this tiny, sharp model differ by about 0.1 nats, and
    # which way depends on the processor's own bf16 instructions
    apart = [abs(a - b) for a, b in zip(rounded, exact, strict=True)]
    assert max(apart) < 0.12
    assert sum(apart) / len(apart) < 0.06
    assert max(exact) - min(exact) > 0.15  # there is a curve to follow
    weights = load_file(half / "final" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}


@pytest.mark.slow
def test_a_bf16_run_that_was_left_goes_on_to_the_same_end(make_run: MakeRun) -> None:
    settings = {"precision": "bfloat16", "objective": {"epochs": 2, "lr": 1e-5}}
    straight, left = make_run("straight", **settings), make_run("left", **settings)
    assert train.run(straight).exit_code == 0
    asked = iter([False] * 9 + [True])
    assert train.run(left, should_leave=lambda: next(asked)).exit_code == EXIT_LEFT
    assert train.run(left).exit_code == 0
    assert losses(left) == losses(straight)
    ours, theirs = (load_file(run / "final" / "model.safetensors") for run in (left, straight))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_activations_computed_again_give_the_same_gradient_and_are_not_kept() -> None:
    item = PackItem(tuple(range(1, 40)), (tuple(range(50, 80)), tuple(range(90, 110))))
    (packed,) = pack_groups([item], token_budget=10_000)

    def run(*, spare: bool) -> tuple[torch.Tensor, int]:
        model = tiny_policy(seed=2, layers=4).model
        if spare:
            spare_activations(model)
        ready_to_step(model, spare_memory=spare)
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = forward_logps(model, packed, with_grad=True).sum()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()]), kept

    (plain, much), (again, little) = run(spare=False), run(spare=True)
    assert torch.allclose(plain, again, atol=1e-5)
    assert little < much / 3


@pytest.mark.slow
def test_a_run_that_spares_memory_has_the_same_losses(make_run: MakeRun) -> None:
    lora = Adapter(kind="lora", rank=4)
    plain, spare = make_run("plain", adapter=lora), make_run("spare", adapter=lora, spare_memory=True)
    for run in (plain, spare):
        assert train.run(run).exit_code == 0
    assert losses(spare) == pytest.approx(losses(plain), abs=1e-5)
