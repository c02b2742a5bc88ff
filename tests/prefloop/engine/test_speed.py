from __future__ import annotations

from typing import Any

import pytest
import torch

from prefloop.engine.speed import as_values, measure
from prefloop.measured import keep
from prefloop.memory import Shape
from prefloop.policy.scoring import forward_logps
from prefloop.speeds import Speeds, known_speeds, measurement_name


@pytest.mark.slow
def test_a_policy_is_timed_and_stays_what_it_was(any_policy: Any) -> None:
    before = {name: weight.clone() for name, weight in any_policy.model.state_dict().items()}
    asked = [weight.requires_grad for weight in any_policy.model.parameters()]
    was_training = any_policy.model.training
    found = measure(any_policy)
    assert min(found.sampled, found.read, found.trained) > 0
    assert all(torch.equal(weight, before[name]) for name, weight in any_policy.model.state_dict().items())
    assert [weight.requires_grad for weight in any_policy.model.parameters()] == asked
    assert all(weight.grad is None for weight in any_policy.model.parameters())
    assert any_policy.model.training == was_training


@pytest.mark.slow
def test_a_large_model_is_timed_with_the_adapter_that_it_would_train(
    any_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefloop.recipes.adapter.AUTO_PARAMETERS", 0)
    trained: set[str] = set()

    def watched(model: Any, batch: Any, *, with_grad: bool) -> torch.Tensor:
        if with_grad:
            trained.update(name for name, weight in model.named_parameters() if weight.requires_grad)
        return forward_logps(model, batch, with_grad=with_grad)

    monkeypatch.setattr("prefloop.engine.speed.forward_logps", watched)
    before = {name: weight.clone() for name, weight in any_policy.model.state_dict().items()}
    asked = [weight.requires_grad for weight in any_policy.model.parameters()]
    assert measure(any_policy).trained > 0
    assert trained
    assert all("lora_" in name for name in trained)
    after = any_policy.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())
    assert [weight.requires_grad for weight in any_policy.model.parameters()] == asked


def test_time_is_tokens_over_speeds_and_what_nobody_measured_is_not_known(tmp_path: Any) -> None:
    speeds = Speeds(sampled=10.0, read=100.0, trained=50.0)
    assert speeds.seconds(sampled=20, read=300, trained=100) == 2 + 3 + 2
    name = measurement_name(Shape(1000, layers=2, hidden=8), "auto")
    assert known_speeds(name, threads=1, folder=tmp_path) is None
    keep(tmp_path, name, as_values(speeds), threads=1)
    assert known_speeds(name, threads=1, folder=tmp_path) == speeds
    assert known_speeds(name, threads=2, folder=tmp_path) is None
    assert known_speeds(measurement_name(Shape(1001, layers=2, hidden=8), "auto"), threads=1, folder=tmp_path) is None
