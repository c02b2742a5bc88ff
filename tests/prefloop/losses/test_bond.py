"""BOND and J-BOND on the five outcomes: the law, the reward, the gradients, the optima, and the dynamics."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prefloop.losses.bond import (
    J_BOND_PENALTY,
    backward_reward,
    best_of_n_logp,
    bond_backward_loss,
    bond_forward_loss,
    bond_reward,
    j_bond_loss,
    j_bond_reward,
    jeffreys_loss,
    mean_of_others,
    sampled_quantiles,
)
from prefloop.stats.best_of_n import best_of_n_law


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _close(found: Tensor, wanted: tuple[float, ...], tol: float = 1e-6) -> None:
    assert found.tolist() == pytest.approx(wanted, abs=tol)


def _backward(bed: Any, n: int, reward: Tensor) -> Any:
    """The backward surrogate in expectation over the policy's own samples."""

    def expectation(logp: Tensor) -> Tensor:
        return (logp.detach().exp() * bond_backward_loss(logp, bed.ref_logp, reward, n=n).loss).sum()

    return expectation


def test_the_reward_has_the_known_values(t5: Any) -> None:
    wanted = (-1.1271315848, 0.0391128308, -0.4103338256, 0.3353009635, -1.8971199849)
    _close(bond_reward(t5.p_below, t5.p_up_to, n=4), wanted, 1e-9)


def test_the_law_is_the_telescoped_one(t5: Any) -> None:
    _close(best_of_n_logp(t5.p_below, t5.p_up_to, n=4).exp(), (0.0034, 0.2249, 0.0876, 0.68359375, 0.00050625), 1e-12)


@pytest.mark.slow
@given(
    st.lists(st.floats(0.02, 1), min_size=5, max_size=5),
    st.lists(st.floats(-3, 3), min_size=5, max_size=5, unique=True),
    st.integers(2, 64),
)
def test_the_reward_times_the_reference_is_best_of_n_without_a_constant(
    weights: list[float], reward: list[float], n: int
) -> None:
    p = _t(*weights) / sum(weights)
    r = _t(*reward)
    below = (p * (r[None] < r[:, None])).sum(1)
    up_to = below + p
    law = p * ((n - 1) * bond_reward(below, up_to, n=n)).exp()  # Z = 1 exactly
    assert law.sum().item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(law, torch.from_numpy(best_of_n_law(p, r, n)), rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(law, best_of_n_logp(below, up_to, n=n).exp(), rtol=1e-7, atol=1e-12)


def test_best_of_n_by_enumeration_of_all_draws(t5: Any) -> None:
    law = torch.zeros(5, dtype=torch.float64)
    for draws in itertools.product(range(5), repeat=4):
        law[max(draws, key=lambda y: float(t5.reward[y]))] += math.prod(float(t5.reference[y]) for y in draws)
    torch.testing.assert_close(best_of_n_logp(t5.p_below, t5.p_up_to, n=4).exp(), law, rtol=0, atol=1e-12)


def test_the_backward_surrogate_has_the_gradient_of_the_kl_to_best_of_n(t5: Any) -> None:
    logits = _t(0.3, -0.2, 0.9, 0.1, -1.0)
    bon = best_of_n_logp(t5.p_below, t5.p_up_to, n=4)
    reward = bond_reward(t5.p_below, t5.p_up_to, n=4)

    def exact(x: Tensor) -> Tensor:
        logp = x.log_softmax(0)
        return (logp.exp() * (logp - bon)).sum()

    x = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(_backward(t5, 4, reward)(x.log_softmax(0)), x)
    step = 1e-6
    for at in range(5):
        move = torch.zeros_like(logits)
        move[at] = step
        difference = (exact(logits + move) - exact(logits - move)) / (2 * step)
        assert found[at].item() == pytest.approx(float(difference), abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("jeffreys", [0.0, 0.3, 0.5, 1.0])
def test_every_mix_of_the_two_terms_has_best_of_n_as_its_optimum(t5: Any, jeffreys: float) -> None:
    bon = best_of_n_logp(t5.p_below, t5.p_up_to, n=4).exp()
    backward = _backward(t5, 4, bond_reward(t5.p_below, t5.p_up_to, n=4))

    def expectation(logp: Tensor) -> Tensor:
        forward = (bon * bond_forward_loss(logp)).sum()
        return jeffreys_loss(forward[None], backward(logp)[None], jeffreys=jeffreys).sum()

    torch.testing.assert_close(t5.solve(expectation), bon, rtol=0, atol=1e-6)


def test_without_the_collision_term_the_optimum_is_another(t5: Any, kl_of: Any) -> None:
    found = t5.solve(_backward(t5, 4, t5.p_up_to.log()))
    _close(found, (0.00404, 0.21839, 0.12919, 0.64707, 0.00131), 5e-6)
    bon = best_of_n_logp(t5.p_below, t5.p_up_to, n=4).exp()
    assert kl_of(found, bon) == pytest.approx(0.010188, abs=1e-6)


@pytest.mark.parametrize(("k", "wanted"), [(16, -0.6628), (2, -0.4774)])
def test_adding_one_is_biased_as_known(k: int, wanted: float) -> None:
    counts = torch.arange(k + 1, dtype=torch.float64)
    chance = torch.tensor([math.comb(k, c) / 2**k for c in range(k + 1)], dtype=torch.float64)
    below, up_to = sampled_quantiles(counts, counts, k=k)
    assert float((chance * up_to.log()).sum()) == pytest.approx(wanted, abs=5e-5)
    torch.testing.assert_close(below, up_to)


@given(st.integers(1, 64), st.data())
def test_sampled_quantiles_are_never_0_and_grow_with_the_count(k: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, k - 1))
    below, up_to = sampled_quantiles(torch.tensor([0, count]), torch.tensor([count, count + 1]), k=k)
    assert 0 < below[0] <= up_to[0] < up_to[1] <= 1


def test_counts_that_cannot_be_are_refused() -> None:
    for below, up_to in ((2, 1), (-1, 1), (0, 5)):
        with pytest.raises(ValueError, match="counts must be from 0 to k"):
            sampled_quantiles(torch.tensor([below]), torch.tensor([up_to]), k=4)


def test_a_measured_reward_becomes_the_exact_one_with_many_samples(t5: Any) -> None:
    k = 10**6
    counts = [(p * k).round() for p in (t5.p_below, t5.p_up_to)]
    for both_terms in (True, False):
        exact = backward_reward(t5.p_below, t5.p_up_to, n=4, both_terms=both_terms)
        found = backward_reward(*sampled_quantiles(*counts, k=k), n=4, both_terms=both_terms)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)
    assert not torch.equal(exact, bond_reward(t5.p_below, t5.p_up_to, n=4))


@pytest.mark.slow
@given(st.integers(2, 32), st.integers(1, 64), st.data())
def test_where_no_two_answers_score_the_same_the_second_term_is_a_constant(n: int, k: int, data: st.DataObject) -> None:
    counts = torch.tensor([data.draw(st.integers(0, k)), data.draw(st.integers(0, k))])
    quantiles = sampled_quantiles(counts, counts, k=k)
    gap = backward_reward(*quantiles, n=n, both_terms=True) - backward_reward(*quantiles, n=n, both_terms=False)
    torch.testing.assert_close(gap, torch.full_like(gap, math.log(n) / (n - 1)))


@pytest.mark.slow
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
def test_the_mean_of_the_others_leaves_its_own_out(values: list[float]) -> None:
    found = mean_of_others(_t(*values)).tolist()
    for at in range(len(values)):
        others = values[:at] + values[at + 1 :]
        assert found[at] == pytest.approx(sum(others) / len(others), abs=1e-9)


# --- J-BOND


def _expected_j_reward(bed: Any, anchor: Tensor) -> Tensor:
    """The reward of each outcome in expectation over the anchor's two draws, through the real function."""
    i, j = (index.reshape(-1) for index in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))
    weight = anchor[i] * anchor[j]
    return torch.stack(
        [
            (weight * j_bond_reward(bed.reward[y].expand(25), bed.reward[i], bed.reward[j])).sum() for y in range(5)
        ]
    )  # fmt: skip


def _j_bond(bed: Any, anchor: Tensor, jeffreys: float, gamma: float) -> Any:
    reward = _expected_j_reward(bed, anchor)
    best = best_of_n_law(anchor.numpy(), bed.reward.numpy(), 2)
    best_of_two = torch.from_numpy(best)

    def expectation(logp: Tensor) -> Tensor:
        result = j_bond_loss(logp, anchor.log(), logp, reward, jeffreys=jeffreys, gamma=gamma)
        own = logp.detach().exp()  # the policy samples its own answer, the anchor its two
        mixed = jeffreys_loss(best_of_two * result.forward, own * result.backward, jeffreys=jeffreys)
        return (mixed + gamma * own * result.regulariser).sum()

    return expectation


def test_the_reward_fires_only_below_both_and_not_on_ties() -> None:
    found = j_bond_reward(_t(0, 1, 2, 0), _t(1, 1, 1, 0), _t(1, 2, 3, 1))
    assert found.tolist() == pytest.approx([-math.log(16), 0, 0, 0])
    assert pytest.approx(-2.772589, abs=1e-6) == J_BOND_PENALTY


def test_the_expected_reward_is_that_of_the_strict_comparison(t5: Any) -> None:
    _close(_expected_j_reward(t5, t5.reference), (-1.55958, -0.17329, -0.56145, 0, -2.00320), 6e-6)
    alpha_form = J_BOND_PENALTY * (1 - t5.p_up_to) ** 2
    torch.testing.assert_close(_expected_j_reward(t5, t5.reference), alpha_form, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("jeffreys", "gamma", "wanted"),
    [
        (1.0, 0.0, (0.0333397051, 0.2667176405, 0.2713727290, 0.3964781447, 0.0320917807)),
        (0.5, 0.0, (0.0366204499, 0.2635565954, 0.2556552240, 0.4170544522, 0.0271132784)),
        (0.5, 1.0, (0.0639955184, 0.2375791967, 0.2872361119, 0.3368290867, 0.0743600863)),
    ],
)
def test_with_a_frozen_anchor_the_optimum_is_the_known_one(
    t5: Any, jeffreys: float, gamma: float, wanted: tuple[float, ...]
) -> None:
    _close(t5.solve(_j_bond(t5, t5.reference, jeffreys, gamma)), wanted, 1e-8)


def _run(bed: Any, gamma: float, steps: int) -> Tensor:
    """Expected-gradient descent, lr 1, with the anchor's logits moving by eta = .02."""
    logits, anchor = bed.ref_logp.clone(), bed.ref_logp.clone()
    for _ in range(steps):
        x = logits.clone().requires_grad_()
        (grad,) = torch.autograd.grad(_j_bond(bed, anchor.softmax(0), 0.5, gamma)(x.log_softmax(0)), x)
        logits = logits - grad
        anchor = 0.98 * anchor + 0.02 * logits
    return logits.softmax(0)


def test_one_step_is_the_known_one_whatever_gamma_is(t5: Any) -> None:
    wanted = (0.09007255, 0.21005922, 0.28684510, 0.28948397, 0.12353916)
    _close(_run(t5, 0.0, 1), wanted, 1e-8)
    _close(_run(t5, 1.0, 1), wanted, 1e-8)


@pytest.mark.parametrize(("gamma", "kl"), [(0.0, 0.120380), (0.25, 0.093963), (-0.25, 0.161060), (1.0, 0.05170)])
def test_the_extra_kl_slows_the_drift_and_the_printed_sign_would_speed_it(
    t5: Any, kl_of: Any, gamma: float, kl: float
) -> None:
    assert kl_of(_run(t5, gamma, 10), t5.reference) == pytest.approx(kl, abs=6e-6)


@pytest.mark.slow
def test_after_a_hundred_steps_reward_and_kl_are_the_known_ones(t5: Any, kl_of: Any) -> None:
    free, held = _run(t5, 0.0, 100), _run(t5, 1.0, 100)
    assert (kl_of(free, t5.reference), float(free @ t5.reward)) == pytest.approx((0.99224, 1.87623), abs=6e-6)
    assert (kl_of(held, t5.reference), float(held @ t5.reward)) == pytest.approx((0.36416, 1.46426), abs=6e-6)


def test_no_gradient_flows_through_the_return() -> None:
    own, best = _t(-2.0).requires_grad_(), _t(-3.0).requires_grad_()
    result = j_bond_loss(own, _t(-2.5), best, _t(0.0), jeffreys=0.5, gamma=0.4, baseline=0.1)
    result.loss.sum().backward()
    # R = 0 - .5, so backward gives -(R - B) = .6 at half weight, and the regulariser .4 * .5
    assert own.grad.item() == pytest.approx(0.5 * 0.6 + 0.4 * 0.5)
    assert best.grad.item() == pytest.approx(-0.5)


def test_the_terms_by_hand() -> None:
    assert bond_forward_loss(_t(-3.0)).tolist() == [3]
    # R = -1/2 - (-1 + 2) / 2 = -1, and the loss -(3 - 1) * (-1) * R
    found = bond_backward_loss(_t(-1.0), _t(-2.0), _t(-0.5), n=3)
    assert (found.returns.item(), found.loss.item()) == (-1, -2)
    assert bond_backward_loss(_t(-1.0), _t(-2.0), _t(-0.5), n=3, baseline=0.5).loss.item() == -3
    assert jeffreys_loss(_t(4.0), _t(8.0), jeffreys=0.25).tolist() == [5]  # the weight is the backward term's
