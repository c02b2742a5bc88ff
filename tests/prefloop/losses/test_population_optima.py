"""The pair losses, in expectation over all pairs of the five outcomes, have the optima that theory gives them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from prefloop.losses.bo2 import bo2_loss
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.ipo import ipo_loss
from prefloop.losses.nll import nll_loss
from prefloop.losses.ppo import rloo_advantages
from prefloop.losses.rso import sigmoid_norm_loss

UNIFORM = torch.full((5,), 0.2, dtype=torch.float64)
SKEWED = torch.tensor([0.05, 0.4, 0.1, 0.15, 0.3], dtype=torch.float64)


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _pair_expectation(bed: Any, mu: Tensor | None, loss: Any) -> Any:
    i, j, weight = bed.pairs(mu)
    ref = bed.ref_logp
    return lambda logp: (weight * loss(logp[i], logp[j], ref[i], ref[j]).loss).sum()


@pytest.mark.slow
@pytest.mark.parametrize("mu", [None, UNIFORM, SKEWED])
def test_dpo_has_the_rlhf_optimum_whatever_the_pairs_law(t5: Any, kl_of: Any, mu: Tensor | None) -> None:
    found = t5.solve(_pair_expectation(t5, mu, lambda *x: dpo_loss(*x, beta=0.5)))
    wanted = (0.0062254354, 0.0920001825, 0.0507674636, 0.8497431370, 0.0012637816)
    assert found.tolist() == pytest.approx(wanted, abs=1e-8)
    assert kl_of(found, t5.reference) == pytest.approx(0.8546860073, abs=1e-8)


def test_the_rlhf_optimum_at_beta_one_and_its_value(t5: Any, kl_of: Any) -> None:
    found = t5.solve(_pair_expectation(t5, None, lambda *x: sigmoid_norm_loss(*x, gamma=1.0)))
    wanted = (0.0328869620, 0.1787920625, 0.1626643014, 0.6075090182, 0.0181476558)
    assert found.tolist() == pytest.approx(wanted, abs=1e-8)
    assert float(found @ t5.reward) - kl_of(found, t5.reference) == pytest.approx(1.1120938979, abs=1e-8)


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0.1, 1), min_size=5, max_size=5),
    st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    st.floats(0.5, 2),
)
def test_dpo_has_the_rlhf_optimum_on_random_beds(
    make_bed: Any, weights: list[float], reward: list[float], beta: float
) -> None:
    bed = make_bed(weights, reward)
    # from the optimum itself: that its gradient vanishes there is the claim, and the loss is convex in the logits
    found = bed.solve(_pair_expectation(bed, None, lambda *x: dpo_loss(*x, beta=beta)), bed.rlhf_optimum(beta))
    torch.testing.assert_close(found, bed.rlhf_optimum(beta), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_rounds_of_dpo_against_the_round_before_are_one_at_half_the_beta(t5: Any) -> None:
    first = t5.solve(_pair_expectation(t5, None, lambda *x: dpo_loss(*x, beta=1.0)))
    i, j, weight = t5.pairs(first)
    ref = first.log()
    second = t5.solve(lambda lp: (weight * dpo_loss(lp[i], lp[j], ref[i], ref[j], beta=1.0).loss).sum(), first)
    torch.testing.assert_close(second, t5.rlhf_optimum(0.5), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("mu", "wanted"),
    [
        (UNIFORM, (0.0712751686, 0.2132148417, 0.2615074691, 0.3787752382, 0.0752272825)),
        (None, (0.0704014276, 0.2111857030, 0.2577007579, 0.3846693113, 0.0760428003)),
    ],
)
def test_ipo_has_its_optimum_which_depends_on_the_pairs_law(
    t5: Any, mu: Tensor | None, wanted: tuple[float, ...]
) -> None:
    found = t5.solve(_pair_expectation(t5, mu, lambda *x: ipo_loss(*x, tau=0.5)))
    assert found.tolist() == pytest.approx(wanted, abs=1e-8)
    law = t5.reference if mu is None else mu
    closed = (t5.ref_logp + (t5.bradley_terry @ law) / 0.5).softmax(0)
    torch.testing.assert_close(found, closed, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tau", "wanted"),
    [
        (0.5, (0.0700645352, 0.2075659565, 0.2534895634, 0.3899185179, 0.0789614270)),
        (0.1, (0.0071859002, 0.0713542962, 0.0432187003, 0.8736133822, 0.0046277211)),
    ],
)
def test_online_ipo_rests_at_the_nash_point(t5: Any, tau: float, wanted: tuple[float, ...]) -> None:
    def expectation(logp: Tensor) -> Tensor:
        i, j, weight = t5.pairs(logp.detach().exp())
        return (weight * ipo_loss(logp[i], logp[j], t5.ref_logp[i], t5.ref_logp[j], tau=tau).loss).sum()

    nash = _t(*wanted)
    found = t5.solve(expectation, nash / nash.sum())
    assert found.tolist() == pytest.approx(wanted, abs=1e-8)
    torch.testing.assert_close(found, (t5.ref_logp + (t5.bradley_terry @ found) / tau).softmax(0), rtol=0, atol=1e-8)


def test_online_ipo_rests_where_rock_paper_scissors_balance(make_bed: Any) -> None:
    bed = make_bed([0.5, 0.3, 0.2], [0.0, 0.0, 0.0])
    prefers = _t(0.5, 0.9, 0.1, 0.1, 0.5, 0.9, 0.9, 0.1, 0.5).reshape(3, 3)
    i, j, _ = bed.pairs()

    def expectation(logp: Tensor) -> Tensor:
        own = logp.detach().exp()
        loss = ipo_loss(logp[i], logp[j], bed.ref_logp[i], bed.ref_logp[j], tau=0.5).loss
        return (own[i] * own[j] * prefers[i, j] * loss).sum()

    assert bed.solve(expectation).tolist() == pytest.approx((0.5046741497, 0.2469505431, 0.2483753072), abs=1e-8)


@pytest.mark.parametrize(("tau", "wanted"), [(0.1, 0.9933071491), (0.5, 0.7310585786), (1.0, 0.6224593312)])
def test_ipo_of_two_arms_and_a_sure_label_stays_finite(make_bed: Any, tau: float, wanted: float) -> None:
    bed = make_bed([0.5, 0.5], [0.0, 0.0])
    ref = bed.ref_logp
    found = bed.solve(lambda lp: ipo_loss(lp[:1], lp[1:], ref[:1], ref[1:], tau=tau).loss.sum())
    assert found[0].item() == pytest.approx(wanted, abs=1e-8)


def test_offline_bo2_is_twice_the_law_times_the_win_rate(t5: Any) -> None:
    found = t5.solve(_pair_expectation(t5, None, lambda w, lose, *_: bo2_loss(w, lose)))
    wanted = (0.0713020, 0.2236794, 0.2735980, 0.3737249, 0.0576957)
    assert found.tolist() == pytest.approx(wanted, abs=1e-7)
    closed = 2 * t5.reference * (t5.bradley_terry @ t5.reference)
    torch.testing.assert_close(found, closed, rtol=0, atol=1e-8)


def test_rest_conditions_on_what_passes_the_threshold(t5: Any) -> None:
    kept = t5.reference * (t5.reward > 0.7)
    kept = kept / kept.sum()
    assert kept.tolist() == pytest.approx((0, 0.4444, 0, 0.5556, 0), abs=1e-4)
    logp = t5.ref_logp.clone().requires_grad_()
    ones = torch.ones(5, dtype=torch.float64)
    # the gradient of the expected NLL in the logits is policy - kept: zero only at the conditional
    (kept * nll_loss(logp.log_softmax(0), ones).loss).sum().backward()
    torch.testing.assert_close(logp.grad, t5.reference - kept, rtol=0, atol=1e-12)


def test_the_leave_one_out_gradient_has_the_same_mean(t5: Any) -> None:
    logits = t5.ref_logp.clone().requires_grad_()
    logp, p = logits.log_softmax(0), t5.reference
    i, j, _ = t5.pairs()
    advantage = rloo_advantages(torch.stack([t5.reward[i], t5.reward[j]], dim=1))
    rows = -(logp[i] * advantage[:, 0] + logp[j] * advantage[:, 1]) / 2
    (p[i] * p[j] * rows).sum().backward()
    torch.testing.assert_close(-logits.grad, p * (t5.reward - p @ t5.reward), rtol=0, atol=1e-12)
