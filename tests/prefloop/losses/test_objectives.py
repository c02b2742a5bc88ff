"""The losses against METHODS' numbers (example E1), second roads, and symmetries."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.config.fields import read
from prefloop.losses.declaration import CompletionBatch, Loss, PairBatch, UnknownLoss
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.nll import nll_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.reward_model import bradley_terry_loss

# E1: rho_w = 2, rho_l = -2, h = 4
E1 = [torch.tensor([value], dtype=torch.float64) for value in (-8.0, -11.0, -10.0, -9.0)]
logps = st.floats(-300, 0)
probabilities = st.floats(0, 1)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_dpo_gives_the_numbers_of_e1() -> None:
    chosen, rejected, ref_chosen, ref_rejected = E1
    assert dpo_loss(*E1, beta=0.1).loss.item() == pytest.approx(0.5130152524, abs=1e-10)
    swapped = dpo_loss(rejected, chosen, ref_rejected, ref_chosen, beta=0.1)
    assert swapped.loss.item() == pytest.approx(0.9130152524, abs=1e-10)
    assert dpo_loss(*E1, beta=0.1, flip_probability=0.1).loss.item() == pytest.approx(0.5530152524, abs=1e-10)
    result = dpo_loss(*E1, beta=0.1)
    assert (result.chosen_reward.item(), result.rejected_reward.item()) == pytest.approx((0.2, -0.2))


def test_the_slope_of_dpo_is_minus_beta_sigma_of_minus_beta_h() -> None:
    chosen = E1[0].clone().requires_grad_()
    rejected = E1[1].clone().requires_grad_()
    dpo_loss(chosen, rejected, *E1[2:], beta=0.1).loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(-0.0401312340, abs=1e-9)
    assert rejected.grad.item() == pytest.approx(0.0401312340, abs=1e-9)


@pytest.mark.slow
@given(logps, logps, st.floats(0.001, 10), probabilities)
def test_a_policy_that_is_its_reference_loses_log_two(w: float, lose: float, beta: float, p: float) -> None:
    result = dpo_loss(_t(w), _t(lose), _t(w), _t(lose), beta=beta, p_first=p)
    assert result.loss.item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.slow
@given(logps, logps, logps, logps, probabilities)
def test_swapping_the_answers_and_the_label_changes_nothing(a: float, b: float, c: float, d: float, p: float) -> None:
    one = dpo_loss(_t(a), _t(b), _t(c), _t(d), beta=0.1, p_first=p).loss
    other = dpo_loss(_t(b), _t(a), _t(d), _t(c), beta=0.1, p_first=1 - p).loss
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@given(st.floats(0, 1))
def test_a_soft_label_generalises_the_flip_probability(epsilon: float) -> None:
    by_flip = dpo_loss(*E1, beta=0.5, flip_probability=epsilon).loss
    by_label = dpo_loss(*E1, beta=0.5, p_first=1 - epsilon).loss
    torch.testing.assert_close(by_flip, by_label)


def test_a_tie_is_least_costly_where_the_policy_is_indifferent() -> None:
    h = torch.linspace(-3, 3, 7, dtype=torch.float64)
    zero = torch.zeros_like(h)
    losses = dpo_loss(h, zero, zero, zero, beta=1.0, p_first=0.5).loss
    assert int(losses.argmin()) == 3


def test_dpo_stays_finite_far_out() -> None:
    far = dpo_loss(_t(-1e4, 0), _t(0, -1e4), _t(0, 0), _t(0, 0), beta=1.0).loss
    assert far.tolist() == pytest.approx([1e4, 0.0])


def test_dpo_refuses_what_would_broadcast() -> None:
    with pytest.raises(ValueError, match="one shape"):
        dpo_loss(torch.zeros(3), torch.zeros(1), torch.zeros(3), torch.zeros(3), beta=0.1)
    with pytest.raises(ValueError, match="one shape"):
        dpo_loss(*[torch.zeros(2, 2)] * 4, beta=0.1)
    with pytest.raises(ValueError, match="not both"):
        dpo_loss(*E1, beta=0.1, flip_probability=0.1, p_first=0.9)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        dpo_loss(*E1, beta=0.1, p_first=1.1)


def test_rewards_carry_no_gradient() -> None:
    chosen = E1[0].clone().requires_grad_()
    result = dpo_loss(chosen, *E1[1:], beta=0.1)
    assert result.loss.requires_grad
    assert not result.chosen_reward.requires_grad
    assert not result.rejected_reward.requires_grad


def test_bradley_terry_of_equal_rewards_is_log_two_with_slope_one_half() -> None:
    chosen = _t(1.5).requires_grad_()
    result = bradley_terry_loss(chosen, _t(1.5))
    result.loss.sum().backward()
    assert result.loss.item() == pytest.approx(math.log(2))
    assert chosen.grad.item() == pytest.approx(-0.5)


@pytest.mark.slow
@given(st.floats(-20, 20))
def test_the_slope_of_bradley_terry_is_minus_sigma_of_minus_the_difference(delta: float) -> None:
    chosen = _t(delta).requires_grad_()
    bradley_terry_loss(chosen, _t(0)).loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(-1 / (1 + math.exp(delta)), rel=1e-9)


def test_a_soft_label_is_cheapest_at_its_logit() -> None:
    best = 0.5108256238  # logit of .625, METHODS section 7
    losses = bradley_terry_loss(_t(best, best + 0.1, best - 0.1), _t(0, 0, 0), p=0.625).loss
    assert losses[0].item() == pytest.approx(0.6615632382, abs=1e-10)
    assert losses[0] < losses[1]
    assert losses[0] < losses[2]


def test_the_margin_stands_against_the_better_answer_and_centring_against_large_rewards() -> None:
    assert bradley_terry_loss(_t(3), _t(1), margin=2.0).loss.item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(_t(1), _t(3), margin=2.0, p=0.0).loss.item() == pytest.approx(math.log(2))
    plain = bradley_terry_loss(_t(3), _t(1)).loss.item()
    assert bradley_terry_loss(_t(3), _t(1), center_coef=0.01).loss.item() == pytest.approx(plain + 0.16)


@pytest.mark.slow
@given(st.floats(-50, 50), st.floats(-50, 50), probabilities)
def test_bradley_terry_is_the_same_from_both_sides(a: float, b: float, p: float) -> None:
    one = bradley_terry_loss(_t(a), _t(b), p=p, center_coef=0.1).loss
    other = bradley_terry_loss(_t(b), _t(a), p=1 - p, center_coef=0.1).loss
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_nll_is_what_the_completions_cost() -> None:
    result = nll_loss(_t(-3.0, -8.0), _t(3, 5))
    assert (result.loss.sum() / result.n_tokens.sum()).item() == pytest.approx(11 / 8)


def test_the_registry_computes_what_the_functions_do() -> None:
    chosen, rejected, ref_chosen, ref_rejected = E1
    batch = PairBatch(chosen, rejected, _t(1), ref_chosen, ref_rejected)
    rows = LOSSES["dpo"].loss(batch, beta=0.1)
    assert rows.loss.item() == pytest.approx(0.5130152524, abs=1e-10)
    assert rows.metrics["rewards/margins"].item() == pytest.approx(0.4)
    smoothed = LOSSES["dpo"].loss(batch, beta=0.1, label_smoothing=0.1)
    assert smoothed.loss.item() == pytest.approx(0.5530152524, abs=1e-10)
    against = LOSSES["dpo"].loss(PairBatch(chosen, rejected, _t(0), ref_chosen, ref_rejected))
    assert against.loss.item() == pytest.approx(0.9130152524, abs=1e-10)
    assert against.metrics["rewards/margins"].item() == pytest.approx(-0.4)
    assert against.metrics["logps/rejected"].item() == -8
    rewards = LOSSES["bradley-terry"].loss(PairBatch(_t(2), _t(2), _t(1)))
    assert rewards.loss.item() == pytest.approx(math.log(2))
    for name, expected, numbers in [("ipo", 1.0, {}), ("hinge-norm", 0.8, {}), ("slic", 0.0, {"lambda_": 0.0})]:
        assert LOSSES[name].loss(batch, **numbers).loss.item() == pytest.approx(expected)
    reversed_label = PairBatch(chosen, rejected, _t(0), ref_chosen, ref_rejected)
    assert LOSSES["slic"].loss(reversed_label, lambda_=0.0).loss.item() == pytest.approx(4)
    assert LOSSES["ipo"].loss(reversed_label).metrics["rewards/margins"].item() == pytest.approx(-0.4)  # tau h
    assert LOSSES["nll"].loss(CompletionBatch(_t(-3), _t(4))).loss.item() == 3


def test_the_registry_refuses_unknown_names_and_numbers() -> None:
    with pytest.raises(UnknownLoss, match="no number 'bta'"):
        LOSSES["dpo"].loss(PairBatch(*E1[:2], _t(1), *E1[2:]), bta=1)
    with pytest.raises(ValueError, match="needs reference"):
        LOSSES["dpo"].loss(PairBatch(*E1[:2], _t(1)))
    assert all(name == entry.name for name, entry in LOSSES.items())


@pytest.mark.slow
def test_what_a_loss_says_of_itself_needs_no_torch() -> None:
    code = "import sys, prefloop.losses.registry, prefloop.recipes.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_a_declared_number_has_a_meaning_a_label_and_a_default_within_its_limits(loss: Loss) -> None:
    assert loss.source
    for one in loss.numbers:
        assert one.spec.help
        assert one.spec.label
        assert read(one.name, one.default, type(one.default), one.spec) == one.default
    assert set(loss.used) <= set(loss.defaults)  # what the formula takes is what a recipe can set


@pytest.mark.slow
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_nll_is_torchs_cross_entropy_however_tokens_are_split_into_rows(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 5, dtype=torch.float64, generator=generator)
    targets = torch.randint(5, (n,), generator=generator)
    tokens = logits.log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    whole = nll_loss(tokens.sum()[None], _t(n))
    parts = nll_loss(tokens, torch.ones(n, dtype=torch.float64))
    entropy = torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    assert whole.loss.item() == pytest.approx(entropy, abs=1e-9)
    assert parts.loss.sum().item() == pytest.approx(entropy, abs=1e-9)
    assert parts.n_tokens.sum() == whole.n_tokens.sum()
