"""RLOO by hand, by a second road, and what does not change it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.losses.declaration import SampleBatch
from prefloop.losses.registry import LOSSES
from prefloop.losses.rloo import rloo_loss

GROUP = torch.tensor([0, 0, 1, 1])


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # log-ratios 1, 0, -1, 2 at beta .5: returns 2.5, 1, .5, 0
    result = rloo_loss(_t(-1, -2, -3, -4), _t(-1, -2, -3, -4), _t(-2, -2, -2, -6), _t(3, 1, 0, 1), GROUP, beta=0.5)
    assert result.returns.tolist() == [2.5, 1, 0.5, 0]
    assert result.advantages.tolist() == [1.5, -1.5, 0.5, -0.5]
    assert result.loss.tolist() == [1.5, -3.0, 1.5, -2.0]


def test_a_batch_sums_an_answers_tokens_and_pays_its_reference() -> None:
    logp = _t(-1, -2).reshape(1, 2).repeat(4, 1).requires_grad_()
    mask = torch.ones(4, 2, dtype=torch.bool)
    batch = SampleBatch(logp, logp.detach(), mask, _t(1, 0, 5, 5), GROUP, longest=2, ref_logp=logp.detach() - 0.5)
    rows = LOSSES["rloo"].loss(batch, beta=1.0)
    assert rows.metrics["objective/rlhf_reward"].tolist() == [0, -1, 4, 4]
    rows.loss.sum().backward()
    assert logp.grad.tolist() == [[-1, -1], [1, 1], [0, 0], [0, 0]]  # equal returns teach nothing
    with pytest.raises(ValueError, match="needs reference"):
        LOSSES["rloo"].loss(SampleBatch(logp, logp.detach(), mask, _t(1, 0, 5, 5), GROUP, longest=2))


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-9, 9))
def test_a_reward_that_all_answers_get_changes_nothing(scores: list[float], bonus: float) -> None:
    logp = _t(-1, -2, -3, -4)
    one = rloo_loss(logp, logp, logp - 1, _t(*scores), GROUP, beta=0.1)
    other = rloo_loss(logp, logp, logp - 1, _t(*scores) + bonus, GROUP, beta=0.1)
    torch.testing.assert_close(one.advantages, other.advantages)
    torch.testing.assert_close(one.advantages.reshape(2, 2).sum(1), _t(0, 0))
