"""IPO and the hinge losses against METHODS' example E1, second roads, and symmetries."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from prefloop.losses.ipo import ipo_loss
from prefloop.losses.slic import hinge_norm_loss, slic_loss

E1 = [torch.tensor([value], dtype=torch.float64) for value in (-8.0, -11.0, -10.0, -9.0)]
logps = st.floats(-300, 0)
ZERO = torch.zeros(1, dtype=torch.float64)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_ipo_gives_the_number_of_e1() -> None:
    assert ipo_loss(*E1, tau=0.1).loss.item() == pytest.approx(1.0)
    # as the gap study writes it, (beta h - 1/2)^2: tau^2 times as much
    assert 0.1**2 * ipo_loss(*E1, tau=0.1).loss.item() == pytest.approx(0.01)


@given(logps, logps, st.floats(0.01, 10), st.floats(0, 1))
def test_ipo_at_the_reference_is_a_quarter_of_one_over_tau_squared(w: float, lose: float, tau: float, p: float) -> None:
    assert ipo_loss(_t(w), _t(lose), _t(w), _t(lose), tau=tau, p_first=p).loss.item() == pytest.approx(1 / (4 * tau**2))


@pytest.mark.slow
@given(st.floats(0, 1), st.floats(0.1, 2))
def test_ipo_is_least_where_theory_says(p: float, tau: float) -> None:
    found = minimize_scalar(lambda h: ipo_loss(_t(h), ZERO, ZERO, ZERO, tau=tau, p_first=p).loss.item())
    assert found.x == pytest.approx((2 * p - 1) / (2 * tau), abs=1e-6)


def test_the_hinges_give_the_numbers_of_e1() -> None:
    chosen, rejected = E1[:2]
    assert hinge_norm_loss(*E1, gamma=0.05).loss.item() == pytest.approx(0.8)
    assert hinge_norm_loss(*E1, gamma=0.002).loss.item() == pytest.approx(0.992)
    assert slic_loss(chosen, rejected).loss.item() == 0
    assert slic_loss(rejected, chosen).loss.item() == pytest.approx(4)
    assert hinge_norm_loss(chosen, rejected, chosen, rejected, gamma=0.3).loss.item() == 1


def test_inside_the_margin_the_slope_of_slic_is_one_nat_for_a_nat() -> None:
    chosen, rejected = _t(-5.0, -5.0).requires_grad_(), _t(-5.5, -9.0).requires_grad_()
    slic_loss(chosen, rejected).loss.sum().backward()
    assert chosen.grad.tolist() == [-1, 0]
    assert rejected.grad.tolist() == [1, 0]


def test_the_regulariser_of_slic_is_the_targets_likelihood() -> None:
    target = _t(-3.0).requires_grad_()
    result = slic_loss(_t(-1), _t(-9), target, regularisation=0.5)
    result.loss.sum().backward()
    assert result.loss.item() == pytest.approx(1.5)
    assert target.grad.item() == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="regulariser"):
        slic_loss(_t(-1), _t(-9), target)


@pytest.mark.slow
@given(logps, logps, logps, logps, st.floats(0, 1))
def test_swapping_the_answers_and_the_label_changes_nothing(a: float, b: float, c: float, d: float, p: float) -> None:
    one, other = (_t(a), _t(b), _t(c), _t(d)), (_t(b), _t(a), _t(d), _t(c))
    for loss in (
        lambda x, q: ipo_loss(*x, tau=0.1, p_first=q).loss,
        lambda x, q: hinge_norm_loss(*x, gamma=0.05, p_first=q).loss,
        lambda x, q: slic_loss(*x[:2], p_first=q).loss,
    ):
        torch.testing.assert_close(loss(one, p), loss(other, 1 - p), rtol=1e-9, atol=1e-6)
