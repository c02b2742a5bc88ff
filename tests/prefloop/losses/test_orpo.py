"""ORPO by hand, by a second road, and at the edges of a probability."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.losses.declaration import PairBatch
from prefloop.losses.orpo import log_odds, odds_ratio_loss
from prefloop.losses.registry import LOSSES

means = st.floats(-20, -1e-6)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # p = 1/2 a token against 1/4: odds 1 and 1/3, so that the loss is -log(3/4)
    batch = PairBatch(_t(4 * math.log(0.5)), _t(5 * math.log(0.25)), _t(1), first_length=_t(4), second_length=_t(5))
    rows = LOSSES["orpo"].loss(batch, lambda_=0.2)
    assert rows.loss.item() == pytest.approx(-0.2 * math.log(0.75))
    assert rows.extra is not None
    assert rows.extra.item() == pytest.approx(4 * math.log(2))  # of the better answer, to be divided by its tokens
    assert rows.metrics["rewards/margins"].item() == pytest.approx(0.2 * math.log(3))
    turned = PairBatch(batch.second_logp_sum, batch.first_logp_sum, _t(0), first_length=_t(5), second_length=_t(4))
    other = LOSSES["orpo"].loss(turned, lambda_=0.2)
    assert (other.loss.item(), other.extra.item()) == pytest.approx((rows.loss.item(), rows.extra.item()))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="hard labels"):
        LOSSES["orpo"].loss(PairBatch(_t(-1), _t(-2), _t(0.7), first_length=_t(1), second_length=_t(1)))


@given(means, means)
def test_the_odds_are_those_of_the_probability(w: float, lose: float) -> None:
    p, q = math.exp(w), math.exp(lose)
    assert log_odds(_t(w)).item() == pytest.approx(math.log(p) - math.log1p(-p), rel=1e-9, abs=1e-9)
    ratio = p * (1 - q) / (q * (1 - p))
    assert odds_ratio_loss(_t(w), _t(lose)).loss.item() == pytest.approx(math.log1p(1 / ratio), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_and_hopeless_answers_have_finite_losses_and_gradients(dtype: torch.dtype) -> None:
    chosen = torch.tensor([0.0, -1e-9, -500.0], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([-500.0, 0.0, 0.0], dtype=dtype, requires_grad=True)
    loss = odds_ratio_loss(chosen, rejected).loss
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert bool(chosen.grad.isfinite().all())
    assert bool(rejected.grad.isfinite().all())
