"""KTO by hand, by a second road, and what does not change it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.losses.declaration import AnswerBatch
from prefloop.losses.kto import kto_loss
from prefloop.losses.registry import LOSSES

ratios = st.floats(-30, 30)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_by_hand() -> None:
    # log-ratios 3 and -1 nats, z = 2: the good answer leads z by 1, the bad one is behind it by 3
    batch = AnswerBatch(
        _t(-7, -11), torch.tensor([True, False]), ref_logp_sum=_t(-10, -10), mismatched=torch.tensor(2.0).double()
    )
    rows = LOSSES["kto"].loss(batch, beta=0.5, desirable_weight=1.5, undesirable_weight=2.0)
    assert rows.loss.tolist() == pytest.approx([1.5 * (1 - _sigma(0.5)), 2 * (1 - _sigma(1.5))])
    wanted = {
        "kto/kl": [2, 2],
        "logps/chosen": [-7],
        "logps/rejected": [-11],
        "rewards/chosen": [1.5],
        "rewards/rejected": [-0.5],
        "rewards/margins": [0.5, 1.5],
        "rewards/accuracies": [1, 1],
    }
    assert rows.metrics.keys() == wanted.keys()
    for name, values in rows.metrics.items():
        assert values.tolist() == pytest.approx(wanted[name]), name
    with pytest.raises(ValueError, match="reference log-probs"):
        LOSSES["kto"].loss(AnswerBatch(_t(-7), torch.tensor([True]), mismatched=_t(0)[0]))
    with pytest.raises(ValueError, match="mismatched"):
        LOSSES["kto"].loss(AnswerBatch(_t(-7), torch.tensor([True]), ref_logp_sum=_t(-7)))


@given(ratios, st.booleans(), ratios, st.floats(0.01, 2))
def test_the_gradient_is_that_of_a_value_of_gains_and_losses(r: float, good: bool, drift: float, beta: float) -> None:
    """v' = beta sigma(x) (1 - sigma(x)) on both sides of z, which is no smaller than 0 and has no gradient."""
    log_ratio, mismatched = _t(r).requires_grad_(), torch.tensor(drift, dtype=torch.float64, requires_grad=True)
    kto_loss(log_ratio, torch.tensor([good]), mismatched, beta=beta).loss.sum().backward()
    s = _sigma(beta * (r - max(0.0, drift)))
    assert log_ratio.grad is not None
    assert log_ratio.grad.item() == pytest.approx((-1 if good else 1) * beta * s * (1 - s), abs=1e-12)
    assert mismatched.grad is None


@given(ratios, ratios, st.floats(0.01, 2))
def test_an_answer_called_good_and_bad_costs_one_whatever_the_policy(r: float, drift: float, beta: float) -> None:
    both = kto_loss(_t(r, r), torch.tensor([True, False]), _t(drift)[0], beta=beta)
    assert both.loss.sum().item() == pytest.approx(1)
