from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from prefloop.recipes.recipe import Objective


def test_the_rate_rises_to_its_peak_and_falls_to_its_last_share() -> None:
    settings = Objective(lr=0.8, warmup=4, schedule="linear")
    rates = [learning_rate(settings, step, 8) for step in range(1, 9)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2])
    constant = Objective(lr=0.8, warmup=2)
    assert [learning_rate(constant, step, 4) for step in range(1, 5)] == pytest.approx([0.4, 0.8, 0.8, 0.8])


@given(warmup=st.integers(0, 20), n_steps=st.integers(1, 40), schedule=st.sampled_from(["constant", "linear"]))
def test_no_step_is_taken_at_rate_zero_or_above_the_peak(warmup: int, n_steps: int, schedule: str) -> None:
    settings = Objective(lr=0.5, warmup=warmup, schedule=schedule)
    assert all(0 < learning_rate(settings, step, n_steps) <= 0.5 for step in range(1, n_steps + 1))


def test_an_optimizer_that_was_stored_goes_on_as_if_nothing_had_been() -> None:
    def model() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))

    def step(net: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        net(x).pow(2).sum().backward()
        optimizer.step()

    settings = Objective(lr=0.1, weight_decay=0.05)
    straight = model()
    optimizer = make_optimizer(straight, settings)
    for seed in range(3):
        step(straight, optimizer, seed)
    stored, weights = optimizer_tensors(straight, optimizer), {k: v.clone() for k, v in straight.state_dict().items()}
    stored = {name: value.clone() for name, value in stored.items()}
    step(straight, optimizer, 3)

    resumed = model()
    resumed.load_state_dict(weights)
    second = make_optimizer(resumed, settings)
    restore_optimizer(resumed, second, stored, step=3)
    step(resumed, second, 3)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
