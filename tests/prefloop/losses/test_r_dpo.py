"""R-DPO by hand, as DPO where a token costs nothing, and at the policy that its objective prefers."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.r_dpo import r_dpo_loss
from prefloop.losses.registry import LOSSES

sums = st.floats(-30, 0)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # 0.5 ((-8 + 9) - (-11 + 10)) + 0.1 (4 - 9) = 1 - 0.5
    batch = PairBatch(_t(-8), _t(-11), _t(1), _t(-9), _t(-10), first_length=_t(4), second_length=_t(9))
    rows = LOSSES["r-dpo"].loss(batch, beta=0.5, alpha=0.1)
    assert rows.loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert rows.metrics["rewards/margins"].item() == pytest.approx(0.5)
    turned = PairBatch(_t(-11), _t(-8), _t(0), _t(-10), _t(-9), first_length=_t(9), second_length=_t(4))
    assert LOSSES["r-dpo"].loss(turned, beta=0.5, alpha=0.1).loss.item() == pytest.approx(rows.loss.item())
    with pytest.raises(ValueError, match="lengths"):
        LOSSES["r-dpo"].loss(PairBatch(_t(-8), _t(-11), _t(1), _t(-9), _t(-10)))


@given(sums, sums, sums, sums, st.floats(0.01, 2), st.floats(0, 1))
def test_where_a_token_costs_nothing_it_is_dpo(
    w: float, lose: float, ref_w: float, ref_lose: float, beta: float, p: float
) -> None:
    pair = (_t(w), _t(lose), _t(ref_w), _t(ref_lose))
    ours = r_dpo_loss(*pair, _t(3), _t(50), beta=beta, alpha=0.0, p_first=p).loss
    torch.testing.assert_close(ours, dpo_loss(*pair, beta=beta, p_first=p).loss)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_it_rests_at_the_policy_whose_reward_less_the_price_of_its_tokens_is_best(alpha: float) -> None:
    """All pairs of outcomes, with Bradley and Terry's odds of r: no gradient at ref exp((r - alpha |y|) / beta)."""
    beta, reward, length = 0.7, _t(1.0, -0.5, 0.2, 2.0), _t(1, 4, 9, 12)
    ref = torch.log_softmax(_t(0.1, 0.9, -0.4, 0.3), 0)

    def gradient(logits: torch.Tensor) -> float:
        logits = logits.detach().requires_grad_()
        logp = torch.log_softmax(logits, 0)
        first, second = (torch.tensor(one) for one in zip(*permutations(range(4), 2), strict=True))
        rows = r_dpo_loss(
            logp[first],
            logp[second],
            ref[first],
            ref[second],
            length[first],
            length[second],
            beta=beta,
            alpha=alpha,
            p_first=torch.sigmoid(reward[first] - reward[second]),
        )
        (found,) = torch.autograd.grad(rows.loss.sum(), logits)
        return float(found.abs().max())

    assert gradient(ref + (reward - alpha * length) / beta) < 1e-12
    if alpha:
        assert gradient(ref + reward / beta) > 0.1  # DPO's optimum
        assert gradient(ref + (reward + alpha * length) / beta) > 0.1  # the other sign's, which prefers long answers
