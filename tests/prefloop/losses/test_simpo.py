"""SimPO by hand, by a second road, and what does not change it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.simpo import simpo_loss

means = st.floats(-20, 0)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # -8 nats over 4 tokens against -11 over 5: 2 (-2 + 2.2) - 1 = -0.6
    batch = PairBatch(_t(-8), _t(-11), _t(1), first_length=_t(4), second_length=_t(5))
    rows = LOSSES["simpo"].loss(batch)
    assert rows.loss.item() == pytest.approx(math.log(1 + math.exp(0.6)))
    assert rows.metrics["rewards/margins"].item() == pytest.approx(0.4)  # per token, without the margin asked for
    assert rows.metrics["rewards/chosen"].item() == pytest.approx(-4.0)
    turned = PairBatch(_t(-11), _t(-8), _t(0), first_length=_t(5), second_length=_t(4))
    assert LOSSES["simpo"].loss(turned).loss.item() == pytest.approx(rows.loss.item())
    with pytest.raises(ValueError, match="lengths"):
        LOSSES["simpo"].loss(PairBatch(_t(-8), _t(-11), _t(1)))


@pytest.mark.slow
@given(means, means, st.floats(0.1, 5), st.floats(0, 1))
def test_without_a_margin_it_is_dpo_of_means_with_an_indifferent_reference(
    w: float, lose: float, beta: float, p: float
) -> None:
    ours = simpo_loss(_t(w), _t(lose), beta=beta, gamma=0.0, p_first=p).loss
    torch.testing.assert_close(ours, dpo_loss(_t(w), _t(lose), _t(-1), _t(-1), beta=beta, p_first=p).loss)


@given(means, means, st.integers(1, 9))
def test_an_answer_said_twice_over_is_worth_the_same(w: float, lose: float, times: int) -> None:
    def loss(k: int) -> torch.Tensor:
        batch = PairBatch(_t(3 * k * w), _t(5 * lose), _t(1), first_length=_t(3 * k), second_length=_t(5))
        return LOSSES["simpo"].loss(batch).loss

    torch.testing.assert_close(loss(1), loss(times))
