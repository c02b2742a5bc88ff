"""PPO's pieces: where the reward lands, advantages by brute force, clipping by hand, and nothing after EOS."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prefloop.losses.ppo import (
    gae,
    ppo_clip_loss,
    rloo_advantages,
    token_rewards,
    value_clip_loss,
    whiten,
)


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _mask(*lengths: int, width: int) -> Tensor:
    return torch.arange(width)[None] < torch.tensor(lengths)[:, None]


rows = st.lists(st.floats(-3, 3), min_size=4, max_size=4)


def test_the_kl_is_at_every_token_and_the_score_at_the_last() -> None:
    logp, ref = _t(-1, -2, -3, -99)[None], _t(-1.5, -1, -3, 0)[None]
    rewards = token_rewards(logp, ref, _mask(3, width=4), _t(2.0), kl_coef=0.1)
    assert rewards.tolist()[0] == pytest.approx([-0.05, 0.1, 2.0, 0.0])


def test_an_unfinished_answer_pays() -> None:
    zero = torch.zeros(2, 2, dtype=torch.float64)
    found = token_rewards(
        zero, zero, _mask(2, 1, width=2), _t(1, 1), finished=torch.tensor([False, True]), missing_eos_penalty=3
    )
    assert found.tolist() == [[0, -2], [1, 0]]


@pytest.mark.slow
@given(rows, rows, st.floats(-5, 5), st.integers(1, 4), st.floats(0, 1))
def test_the_rewards_of_an_answer_add_up_to_score_minus_kl(
    logp: list[float], ref: list[float], score: float, length: int, beta: float
) -> None:
    mask = _mask(length, width=4)
    total = token_rewards(_t(*logp)[None], _t(*ref)[None], mask, _t(score), kl_coef=beta).sum().item()
    log_ratio = sum(logp[:length]) - sum(ref[:length])
    assert total == pytest.approx(score - beta * log_ratio, abs=1e-9)


def test_advantages_by_hand() -> None:
    # deltas: 1 + .5*3 - 2 = .5 and 2 - 3 = -1; first advantage .5 + .5*.5*(-1)
    found = gae(_t(1, 2)[None], _t(2, 3)[None], _mask(2, width=2), gamma=0.5, lam=0.5)
    assert found.advantages.tolist() == [[0.25, -1.0]]
    assert found.returns.tolist() == [[2.25, 2.0]]


@given(rows, rows, st.integers(1, 4), st.floats(0, 1), st.floats(0, 1), st.floats(-9, 9))
def test_advantages_are_the_discounted_sum_and_padding_changes_nothing(
    rewards: list[float], values: list[float], length: int, gamma: float, lam: float, junk: float
) -> None:
    mask = _mask(length, width=4)
    padded = [rewards[:length] + [junk] * (4 - length), values[:length] + [junk] * (4 - length)]
    found = gae(_t(*padded[0])[None], _t(*padded[1])[None], mask, gamma=gamma, lam=lam)
    v = values[:length] + [0.0]
    deltas = [rewards[t] + gamma * v[t + 1] - v[t] for t in range(length)]
    for t in range(4):
        brute = sum((gamma * lam) ** (u - t) * deltas[u] for u in range(t, length))
        assert found.advantages[0, t].item() == pytest.approx(brute, abs=1e-9)


def test_with_lambda_one_the_returns_are_the_reward_to_go() -> None:
    found = gae(_t(1, 2, 4)[None], _t(7, -3, 2)[None], _mask(3, width=3), gamma=1, lam=1)
    assert found.returns.tolist()[0] == pytest.approx([7, 6, 4])


@pytest.mark.slow
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=8).filter(lambda v: max(v) - min(v) > 0.1))
def test_whitened_values_have_mean_zero_and_variance_one(values: list[float]) -> None:
    padded = _t(*values, 1e6)[None]
    mask = _mask(len(values), width=len(values) + 1)
    found = whiten(padded, mask)
    assert found[0, :-1].sum().item() / len(values) == pytest.approx(0, abs=1e-6)
    assert found[0, :-1].var().item() == pytest.approx(1, abs=1e-5)
    assert found[0, -1].item() == 0
    kept = whiten(padded, mask, shift_mean=False)[0, :-1]
    assert kept.sum().item() / len(values) == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_clipping_by_hand() -> None:
    # ratios 1.5, 1.5, .5, .5 with advantages +1, -1, +1, -1: clipped where that would reward going further
    old = torch.zeros(1, 4, dtype=torch.float64)
    new = _t(math.log(1.5), math.log(1.5), math.log(0.5), math.log(0.5))[None]
    found = ppo_clip_loss(new, old, _t(1, -1, 1, -1)[None], _mask(4, width=4))
    assert found.loss.tolist()[0] == pytest.approx([-1.2, 1.5, -0.5, 0.8])
    assert found.clipped.tolist() == [[True, False, False, True]]


def test_at_the_old_policy_the_gradient_is_that_of_reinforce() -> None:
    logp = _t(-1.0, -2.0, -3.0)[None].requires_grad_()
    ppo_clip_loss(logp, logp.detach(), _t(0.5, -2, 9)[None], _mask(2, width=3)).loss.sum().backward()
    assert logp.grad.tolist() == [[-0.5, 2.0, 0.0]]


def test_what_stands_in_padding_never_makes_a_nan() -> None:
    logp = _t(-1.0, 0.0)[None].requires_grad_()
    old = torch.tensor([[-1.0, -math.inf]], dtype=torch.float64)
    found = ppo_clip_loss(logp, old, _t(1, 1)[None], _mask(1, width=2))
    found.loss.sum().backward()
    assert found.loss.tolist() == [[-1, 0]]
    assert torch.isfinite(logp.grad).all()


@pytest.mark.slow
@given(rows, rows, rows, st.floats(0.05, 0.5))
def test_the_clipped_loss_is_never_below_the_plain_one(
    new: list[float], old: list[float], advantages: list[float], clip: float
) -> None:
    mask = _mask(4, width=4)
    found = ppo_clip_loss(_t(*new)[None], _t(*old)[None], _t(*advantages)[None], mask, clip=clip).loss
    plain = -_t(*advantages) * (_t(*new) - _t(*old)).exp()
    assert (found[0] >= plain - 1e-9).all()


def test_a_value_within_the_clip_is_never_counted_as_clipped() -> None:
    old = torch.linspace(-0.05, 0.05, 601)[None]
    values = 0.1 * torch.linspace(-3, 3, 601).sin()[None]  # of other sizes, so that old + (value - old) rounds
    for returns in (torch.full_like(old, 0.02), torch.full_like(old, -0.02)):
        found = value_clip_loss(values, old, returns, torch.ones_like(old, dtype=torch.bool))
        assert not bool(found.clipped.any())


def test_value_clipping_by_hand_and_its_slope() -> None:
    values = _t(1.0, 1.0)[None].requires_grad_()
    # held at .2: (.2 - 2)^2 > (1 - 2)^2, so no gradient; held at .2: (1 - 0)^2 > .2^2, so a plain one
    found = value_clip_loss(values, _t(0, 0)[None], _t(2, 0)[None], _mask(2, width=2))
    found.loss.sum().backward()
    assert found.loss.tolist()[0] == pytest.approx([0.5 * 1.8**2, 0.5])
    assert values.grad.tolist() == [[0, 1]]
    assert found.clipped.tolist() == [[True, False]]


@pytest.mark.slow
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
def test_leave_one_out_advantages_add_up_to_zero(returns: list[float]) -> None:
    found = rloo_advantages(_t(*returns)[None])
    assert found.sum().item() == pytest.approx(0, abs=1e-8)
    k, mean = len(returns), sum(returns) / len(returns)
    assert found[0, 0].item() == pytest.approx((returns[0] - mean) * k / (k - 1), abs=1e-8)


def test_leave_one_out_by_hand() -> None:
    assert rloo_advantages(_t(1, 2, 6)[None]).tolist() == [[-3, -1.5, 4.5]]


@pytest.mark.slow
@given(rows, rows, rows, st.floats(0.05, 0.5))
def test_the_clipped_value_loss_is_never_below_the_squared_error_and_is_it_near_the_old_value(
    new: list[float], old: list[float], returns: list[float], clip: float
) -> None:
    mask = _mask(4, width=4)
    found = value_clip_loss(_t(*new)[None], _t(*old)[None], _t(*returns)[None], mask, clip=clip).loss[0]
    plain = 0.5 * (_t(*new) - _t(*returns)) ** 2
    assert (found >= plain - 1e-9).all()
    near = (_t(*new) - _t(*old)).abs() <= clip
    torch.testing.assert_close(found[near], plain[near])
