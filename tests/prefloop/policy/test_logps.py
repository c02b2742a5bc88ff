from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from prefloop.policy import logps
from prefloop.policy.logps import completion_logps, sum_by_sequence


def _inputs(dtype: torch.dtype = torch.float32, *, bias: bool = False) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 11, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    hidden = torch.randn(17, 6, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(11, (17,), generator=generator)
    return hidden, head.to(dtype), targets


def test_a_two_token_vocabulary_gives_the_hand_value() -> None:
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [math.log(3)]]))
    # logits (0, log 3): probabilities 1/4 and 3/4
    logps = completion_logps(torch.ones(2, 1), head, torch.tensor([0, 1]))
    assert logps.tolist() == pytest.approx([math.log(0.25), math.log(0.75)])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 5, 17, 100])
def test_chunks_change_neither_values_nor_gradients(chunk: int, bias: bool) -> None:
    hidden, head, targets = _inputs(bias=bias)
    weights = torch.linspace(-1, 2, 17)
    plain = head(hidden).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    expected = torch.autograd.grad((weights * plain).sum(), [hidden, *head.parameters()])
    ours = completion_logps(hidden, head, targets, chunk=chunk)
    got = torch.autograd.grad((weights * ours).sum(), [hidden, *head.parameters()])
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_the_gradient_equals_finite_differences() -> None:
    hidden, head, targets = _inputs(torch.float64)
    # the values are fp32, so differences are taken wide
    loss = completion_logps(hidden, head, targets, chunk=4).sum()
    (gradient,) = torch.autograd.grad(loss, hidden)
    step = 1e-2
    for place in [(0, 0), (3, 5), (16, 2)]:
        moved = []
        for sign in (1, -1):
            other = hidden.detach().clone()
            other[place] += sign * step
            moved.append(completion_logps(other, head, targets).double().sum().item())
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(float(gradient[place]), abs=5e-3)


def test_an_adapted_head_takes_the_checkpointed_road_to_the_same_gradient() -> None:
    hidden, head, targets = _inputs()
    a = completion_logps(hidden, head, targets, chunk=4)
    b = completion_logps(hidden, nn.Sequential(head), targets, chunk=4)
    torch.testing.assert_close(a, b)
    grads = [torch.autograd.grad(x.pow(2).sum(), [hidden, head.weight]) for x in (a, b)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_probabilities_that_are_kept_give_the_gradient_of_those_computed_again(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, head, targets = _inputs(bias=bias)
    weights = torch.linspace(-1, 2, 17)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, [hidden, *head.parameters()], retain_graph=True))

    kept = (weights * completion_logps(hidden, head, targets, chunk=5)).sum()
    first, second = gradients(kept), gradients(kept)  # the second time there is nothing left to reuse
    monkeypatch.setattr(logps, "_KEPT", 0)
    again = gradients((weights * completion_logps(hidden, head, targets, chunk=5)).sum())
    for a, b, c in zip(first, second, again, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def test_nothing_of_the_size_of_length_by_vocabulary_is_kept_where_that_is_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logps, "_KEPT", 64 * 500 - 1)
    hidden, targets = torch.randn(64, 4, requires_grad=True), torch.zeros(64, dtype=torch.long)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    for head in (nn.Linear(4, 500), nn.Sequential(nn.Linear(4, 500))):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            completion_logps(hidden, head, targets, chunk=8)
    assert kept
    assert max(kept) <= 4 * 500  # the head's own weight


def test_low_precision_logits_are_normalised_in_fp32() -> None:
    hidden, head, targets = _inputs(torch.bfloat16)
    logps = completion_logps(hidden, head, targets)
    logits = head(hidden).float()
    torch.testing.assert_close(logps, logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1))
    assert logps.dtype == torch.float32


def test_sums_go_to_whom_each_token_belongs_and_nothing_to_the_rest() -> None:
    sums = sum_by_sequence(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([2, 0, 2]), 4)
    assert sums.tolist() == [-2.0, 0.0, -5.0, 0.0]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        completion_logps(torch.zeros(3, 2), nn.Linear(2, 2), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="must both"):
        sum_by_sequence(torch.zeros(3), torch.zeros(1, dtype=torch.long), 1)
