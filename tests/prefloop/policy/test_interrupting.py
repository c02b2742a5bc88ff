"""A pass of a loaded model can be ended between any two layers, forward and backward; one that is not is unchanged."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

from prefloop.checkpoints import fingerprint
from prefloop.engine.hardware import spare_activations
from prefloop.interrupting import interrupted_by, make_interruptible
from prefloop.policy.loading import layers_of, load_policy
from prefloop.policy.sampling import SamplePrompt, sample


class Told(BaseException):
    """Raised by a check, as a job's cancellation is: not an Exception."""


def at(n: int) -> Any:
    """Make a check that raises when it is called the n-th time, and counts its calls."""
    calls = []

    def check() -> None:
        calls.append(None)
        if len(calls) == n:
            raise Told

    check.calls = calls  # type: ignore[attr-defined]
    return check


def loss_of(model: Any) -> torch.Tensor:
    ids = torch.arange(3, 9)[None]
    loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
    return loss


@pytest.mark.parametrize("spare", [False, True])
def test_every_layer_asks_on_the_way_forward_and_on_the_way_back(any_policy: Any, spare: bool) -> None:
    model = any_policy.model
    n = len(layers_of(model))
    if spare:
        spare_activations(model)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    loss_of(model).backward()
    before = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    make_interruptible(layers_of(model))
    loss_of(model).backward()  # nobody asks
    check = at(0)
    model.zero_grad()
    with interrupted_by(check):
        loss = loss_of(model)
        forward = len(check.calls)
        loss.backward()
    assert forward >= n
    assert len(check.calls) >= forward + n
    assert all(torch.equal(value.grad, before[name]) for name, value in model.named_parameters() if name in before)
    for place in (1, forward, forward + 1, len(check.calls)):
        with interrupted_by(at(place)), pytest.raises(Told):
            loss_of(model).backward()


def test_a_loaded_policy_stops_between_two_tokens(tiny_policy_dir: Any) -> None:
    policy = load_policy(tiny_policy_dir)
    prompts = [SamplePrompt("one", (1, 2, 3))]
    check = at(0)
    with interrupted_by(check):
        plain = sample(policy, prompts, n=2, max_tokens=16, seed=1)
    assert len(check.calls) > 4 * len(layers_of(policy.model))
    with interrupted_by(at(len(check.calls) // 2)), pytest.raises(Told):
        sample(policy, prompts, n=2, max_tokens=16, seed=1)
    assert sample(policy, prompts, n=2, max_tokens=16, seed=1) == plain


def test_a_check_is_for_the_thread_that_asked(tiny_policy_dir: Any) -> None:
    policy = load_policy(tiny_policy_dir)
    said: list[str] = []

    def elsewhere() -> None:
        loss_of(policy.model)
        said.append("done")

    with interrupted_by(at(1)):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert said == ["done"]


def test_reading_a_checkpoint_can_be_ended_and_writing_one_can_not(tiny_policy_dir: Any) -> None:
    with interrupted_by(at(1)), pytest.raises(Told):
        fingerprint(tiny_policy_dir)
    with interrupted_by(at(1)), interrupted_by(lambda: None):
        assert fingerprint(tiny_policy_dir) == fingerprint(tiny_policy_dir)
