"""RRHF, CLICK, Cringe, SPIN, RSO, Bo2, IPO per token, RLAIF's labels: by hand, by a second road, as properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prefloop.losses.bo2 import bo2_loss
from prefloop.losses.click import click_loss
from prefloop.losses.cringe import (
    binary_cringe_loss,
    cringe_candidates,
    cringe_token_loss,
    expected_cringe_token_loss,
    pairwise_cringe_loss,
)
from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.ipo import ipo_mean_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.reward_model import bradley_terry_loss
from prefloop.losses.rrhf import rrhf_loss
from prefloop.losses.rso import hinge_norm_loss, sigmoid_norm_loss
from prefloop.losses.spin import spin_loss

logps = st.floats(-300, 0)


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


E1 = [_t(value) for value in (-8.0, -11.0, -10.0, -9.0)]


# --- RRHF


def test_rrhf_counts_only_the_pairs_that_are_out_of_order() -> None:
    result = rrhf_loss(_t(-2, -4, -1)[None], _t(2, 2, 2)[None], _t(1, 2, 3)[None])
    assert result.rank.tolist() == [1.0]  # s = (-1, -2, -.5): only r_1 < r_2 is violated
    assert result.imitation.tolist() == [1.0]
    assert result.loss.tolist() == [2.0]
    ordered = rrhf_loss(_t(-3, -2, -1)[None], _t(1, 1, 1)[None], _t(1, 2, 3)[None])
    assert ordered.rank.tolist() == [0.0]


def test_rrhf_divides_by_each_answers_own_length() -> None:
    # the released code divides by one padded length: these two would then be out of order
    assert rrhf_loss(_t(-4, -9)[None], _t(2, 9)[None], _t(0, 1)[None]).rank.tolist() == [0.0]
    assert rrhf_loss(_t(-4, -9)[None], _t(9, 9)[None], _t(0, 1)[None]).rank.item() == pytest.approx(5 / 9)


def test_the_slopes_of_rrhf_agree_with_finite_differences() -> None:
    logp = _t(-5.0, -3.0, -7.5, -2.0)[None].requires_grad_()
    n, r = _t(3, 4, 2, 5)[None], _t(0.5, -1.0, 2.0, 2.0)[None]
    assert torch.autograd.gradcheck(lambda x: rrhf_loss(x, n, r, rank_weight=0.7).loss, (logp,))


@pytest.mark.slow
@given(
    st.lists(st.tuples(logps, st.integers(1, 50), st.integers(-3, 3)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_rrhf_does_not_depend_on_the_order_of_the_answers(answers: list[tuple[float, int, int]], rng: Any) -> None:
    shuffled = answers[:]
    rng.shuffle(shuffled)
    one, other = (
        rrhf_loss(*(torch.tensor([column], dtype=torch.float64) for column in zip(*rows, strict=True)))
        for rows in (answers, shuffled)
    )
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-9, atol=1e-9)
    s = [logp / n for logp, n, _ in answers]
    brute = sum(
        max(0.0, s[i] - s[j])
        for i in range(len(s))
        for j in range(len(s))
        if answers[i][2] < answers[j][2]
    )  # fmt: skip
    assert one.rank.item() == pytest.approx(brute, abs=1e-9)


def test_rrhf_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        rrhf_loss(_t(-1, -2)[None], _t(1, 0)[None], _t(0, 1)[None])
    with pytest.raises(ValueError, match="three"):
        rrhf_loss(_t(-1, -2), _t(1, 1), _t(0, 1))


# --- CLICK


def test_click_gives_its_two_numbers() -> None:
    assert click_loss(_t(-30, -20), _t(-40, -40), alpha=15).loss.tolist() == [5, 0]


def test_inside_the_margin_the_slope_of_click_is_one_nat_for_a_nat() -> None:
    good, bad = _t(-30.0, -20.0).requires_grad_(), _t(-40.0, -40.0).requires_grad_()
    click_loss(good, bad, alpha=15).loss.sum().backward()
    assert good.grad.tolist() == [-1, 0]
    assert bad.grad.tolist() == [1, 0]


@pytest.mark.slow
@given(logps, logps, st.floats(0, 100), st.floats(-50, 50))
def test_click_sees_only_the_difference(good: float, bad: float, alpha: float, shift: float) -> None:
    one = click_loss(_t(good), _t(bad), alpha=alpha).loss.item()
    other = click_loss(_t(good + shift), _t(bad + shift), alpha=alpha).loss.item()
    assert one == pytest.approx(other, abs=1e-9)
    assert one == pytest.approx(max(0, alpha - good + bad), abs=1e-9)


# --- Cringe


LOGITS = _t(2, 1, 0.5, -1)[None]
ONE = torch.tensor([1])


def test_cringe_gives_the_worked_numbers() -> None:
    assert cringe_candidates(LOGITS, ONE, k=2).tolist() == [[2, 0.5]]
    assert cringe_candidates(LOGITS, ONE, k=2).softmax(1).tolist()[0] == pytest.approx((0.8175744762, 0.1824255238))
    assert cringe_token_loss(LOGITS, ONE, _t(0.5), k=2).item() == pytest.approx(0.3132616875, abs=1e-9)
    assert cringe_token_loss(LOGITS, ONE, _t(0.9), k=2).item() == pytest.approx(0.9740769842, abs=1e-9)
    assert expected_cringe_token_loss(LOGITS, ONE, k=2).item() == pytest.approx(0.4338112642, abs=1e-9)
    assert cringe_token_loss(LOGITS, ONE, _t(0.0), k=1).item() == pytest.approx(0.3132616875, abs=1e-9)


def test_an_unwanted_token_outside_the_top_displaces_the_last_candidate() -> None:
    assert cringe_candidates(LOGITS, torch.tensor([3]), k=2).tolist() == [[2, 1]]


def test_the_average_over_draws_is_the_expectation() -> None:
    draws = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    found = cringe_token_loss(LOGITS.expand(10_000, 4), ONE.expand(10_000), draws, k=2)
    assert found.sum().item() / 10_000 == pytest.approx(0.4338112642, abs=1e-4)


def test_the_slopes_of_cringe_agree_with_finite_differences() -> None:
    logits = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([0, 3, 5])
    assert torch.autograd.gradcheck(lambda x: cringe_token_loss(x, ids, _t(0.1, 0.5, 0.99), k=3), (logits,))


@pytest.mark.slow
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=8), st.floats(-20, 20), st.integers(1, 3), st.floats(0, 0.999))
def test_cringe_does_not_see_a_shift_of_all_logits(logits: list[float], shift: float, k: int, draw: float) -> None:
    x = _t(*[round(value, 3) for value in logits])[None] + 1e-7 * torch.arange(len(logits))  # no exact ties
    one = cringe_token_loss(x, ONE, _t(draw), k=k)
    assert one.item() > 0
    torch.testing.assert_close(
        expected_cringe_token_loss(x, ONE, k=k), expected_cringe_token_loss(x + shift, ONE, k=k), rtol=1e-6, atol=1e-7
    )


def test_binary_cringe_is_a_mean_over_the_tokens_of_each_side() -> None:
    assert binary_cringe_loss(_t(-6), _t(3), _t(2), _t(4), alpha=0.2).tolist() == pytest.approx([2.1])


@pytest.mark.slow
@given(logps, logps, st.floats(-10, 10), st.floats(0.5, 10))
def test_the_gate_is_half_at_b_and_weighs_the_gradient(w: float, lose: float, b: float, tau: float) -> None:
    chosen, rejected = _t(w).requires_grad_(), _t(lose).requires_grad_()
    binary = -chosen + 0.3 * rejected
    loss, gate = pairwise_cringe_loss(chosen, rejected, binary, b=b, tau=tau)
    loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(-gate.item())  # gate times the binary gradient: no term of the gate's
    assert rejected.grad.item() == pytest.approx(0.3 * gate.item())
    at_b = pairwise_cringe_loss(_t(b), _t(0.0), _t(2.0), b=b, tau=tau)
    assert (at_b.gate.item(), at_b.loss.item()) == (0.5, 1.0)


def test_a_solved_pair_is_left_alone_and_a_soft_gate_is_half() -> None:
    assert pairwise_cringe_loss(_t(0), _t(-1000), _t(3), b=0, tau=1).loss.item() == pytest.approx(0, abs=1e-12)
    assert pairwise_cringe_loss(_t(0), _t(-10), _t(3), b=0, tau=1e9).loss.item() == pytest.approx(1.5)
    # by hand: M = 2, b = 1, tau = 2: sigma(-1/2)
    assert pairwise_cringe_loss(_t(0), _t(-2), _t(1), b=1, tau=2).loss.item() == pytest.approx(0.3775406688)


# --- SPIN, RSO, Bo2, IPO per token, RLAIF


def test_spin_and_sigmoid_norm_are_dpos_form_with_their_own_numbers() -> None:
    assert spin_loss(*E1, lambda_=0.1).loss.item() == pytest.approx(0.5130152524, abs=1e-10)
    assert sigmoid_norm_loss(*E1, gamma=0.1).loss.item() == pytest.approx(0.5130152524, abs=1e-10)
    assert sigmoid_norm_loss(*E1).loss.item() == pytest.approx(math.log1p(math.exp(-0.2)))  # gamma .05, h = 4
    assert hinge_norm_loss(*E1, gamma=0.05).loss.item() == pytest.approx(0.8)


@pytest.mark.slow
@given(logps, logps, st.floats(0.01, 5))
def test_at_the_opponent_and_at_the_reference_the_loss_is_log_two(a: float, b: float, scale: float) -> None:
    same = (_t(a), _t(b), _t(a), _t(b))
    assert spin_loss(*same, lambda_=scale).loss.item() == pytest.approx(math.log(2))
    assert sigmoid_norm_loss(*same, gamma=scale).loss.item() == pytest.approx(math.log(2))


@pytest.mark.slow
@pytest.mark.parametrize("lambda_", [1.0, 2.0, 5.0])
def test_spin_reaches_its_closed_form(t5: Any, lambda_: float) -> None:
    data = _t(0.4, 0.3, 0.15, 0.1, 0.05)
    i, j, _ = t5.pairs()
    weight = data[i] * t5.reference[j]

    def expectation(logp: Tensor) -> Tensor:
        loss = spin_loss(logp[i], logp[j], t5.ref_logp[i], t5.ref_logp[j], lambda_=lambda_).loss
        return (weight * loss).sum()

    wanted = t5.reference * (data / t5.reference) ** (1 / lambda_)
    found = t5.solve(expectation)
    torch.testing.assert_close(found, wanted / wanted.sum(), rtol=0, atol=1e-8)
    if lambda_ == 2:
        assert found.tolist() == pytest.approx(
            (0.2217792964, 0.2716230559, 0.2352324667, 0.1753319287, 0.0960332524), abs=1e-8
        )


def test_ipo_per_token_gives_trls_number() -> None:
    means = [_t(-8 / 4), _t(-11 / 5), _t(-10 / 4), _t(-9 / 5)]
    assert ipo_mean_loss(*means, tau=0.1).loss.item() == pytest.approx(16.81)


@pytest.mark.slow
@given(logps, logps, logps, logps, st.floats(0, 1))
def test_bo2_mixes_both_likelihoods_and_knows_no_reference(a: float, b: float, c: float, d: float, p: float) -> None:
    del c, d
    assert bo2_loss(_t(a), _t(b), p_first=p).loss.item() == pytest.approx(-p * a - (1 - p) * b)
    torch.testing.assert_close(bo2_loss(_t(a), _t(b), p_first=p).loss, bo2_loss(_t(b), _t(a), p_first=1 - p).loss)


def test_bo2_imitates_the_winner() -> None:
    winner, loser = _t(-3.0).requires_grad_(), _t(-5.0).requires_grad_()
    bo2_loss(winner, loser).loss.sum().backward()
    assert (winner.grad.item(), loser.grad.item()) == (-1, 0)


def test_soft_labels_of_both_orders_are_fitted_at_their_log_odds() -> None:
    p = 0.5 * (0.7 + (1 - 0.45))
    assert p == pytest.approx(0.625)
    delta = _t(0.5108256238).requires_grad_()
    result = bradley_terry_loss(delta, _t(0.0), p=p)
    result.loss.sum().backward()
    assert result.loss.item() == pytest.approx(0.6615632382, abs=1e-9)
    assert delta.grad.item() == pytest.approx(0, abs=1e-9)


# --- the registry's names for them


def _batch(p: float) -> PairBatch:
    first, second, ref_first, ref_second = E1 if p == 1 else (E1[1], E1[0], E1[3], E1[2])
    lengths = (_t(4.0), _t(5.0)) if p == 1 else (_t(5.0), _t(4.0))
    return PairBatch(first, second, _t(p), ref_first, ref_second, *lengths)


@pytest.mark.parametrize("p", [1.0, 0.0])
def test_the_objectives_give_e1_whichever_answer_comes_first(p: float) -> None:
    batch = _batch(p)
    wanted = {"spin": 0.5130152524, "bo2": 8.0, "click": 8.5}
    for name, value in wanted.items():
        rows = LOSSES[name].loss(batch)
        assert rows.loss.item() == pytest.approx(value)
        assert rows.metrics["rewards/margins"].item() > 0
    per_token = LOSSES["ipo"].loss(batch, form="mean")
    assert per_token.loss.item() == pytest.approx(16.81)
    assert per_token.metrics["rewards/margins"].item() == pytest.approx(0.1 * 0.9)  # its own formula's, not the sum's
    assert LOSSES["rso"].loss(batch, gamma=0.1).loss.item() == pytest.approx(0.5130152524)
    spin = LOSSES["spin"].loss(batch).metrics
    assert (spin["logps/chosen"].item(), spin["logps/rejected"].item()) == (-8, -11)


def test_objectives_without_soft_labels_refuse_them() -> None:
    batch = PairBatch(E1[0], E1[1], _t(0.7), E1[2], E1[3])
    for name in ("spin", "click"):
        with pytest.raises(ValueError, match="hard labels"):
            LOSSES[name].loss(batch)
    with pytest.raises(ValueError, match="lengths"):
        LOSSES["ipo"].loss(batch, form="mean")


def test_sigmoid_norm_is_dpo_by_another_road() -> None:
    torch.testing.assert_close(sigmoid_norm_loss(*E1, p_first=0.3).loss, dpo_loss(*E1, beta=0.05, p_first=0.3).loss)


@pytest.mark.slow
@given(logps, st.integers(1, 50), st.floats(0, 300), st.integers(1, 50), st.floats(0, 2), st.integers(2, 5))
def test_binary_cringe_does_not_grow_with_length(
    positive: float, n: int, cringe: float, n_negative: int, alpha: float, times: int
) -> None:
    one = binary_cringe_loss(_t(positive), _t(n), _t(cringe), _t(n_negative), alpha=alpha)
    longer = binary_cringe_loss(
        _t(times * positive), _t(times * n), _t(times * cringe), _t(times * n_negative), alpha=alpha
    )
    torch.testing.assert_close(one, longer, rtol=1e-9, atol=1e-9)
