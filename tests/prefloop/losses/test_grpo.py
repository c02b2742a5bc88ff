"""GRPO by hand, its two normalisations, and what teaches nothing."""

from __future__ import annotations

import math

import pytest
import torch

from prefloop.losses.declaration import SampleBatch
from prefloop.losses.grpo import group_advantages, grpo_loss
from prefloop.losses.registry import LOSSES

GROUP = torch.tensor([0, 0, 1, 1])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]], dtype=torch.bool)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _batch(scores: torch.Tensor, *, longest: int = 6, behind: float = 0.0) -> tuple[SampleBatch, torch.Tensor]:
    logp = torch.where(MASK, -1.0, 0.0).double().requires_grad_()
    old = logp.detach()
    return SampleBatch(logp, old, MASK, scores, GROUP, longest=longest, ref_logp=old + behind * MASK), logp


def test_advantages_by_hand() -> None:
    # 1 and 3: mean 2, deviation of a sample sqrt 2
    found = group_advantages(_t(1, 3, 5, 5), GROUP)
    assert found.tolist() == pytest.approx([-1 / (math.sqrt(2) + 1e-4), 1 / (math.sqrt(2) + 1e-4), 0, 0])
    assert group_advantages(_t(1, 3, 5, 5), GROUP, by_deviation=False).tolist() == [-1, 1, 0, 0]


def test_a_loss_by_hand() -> None:
    log = math.log
    # one answer of two tokens, ratios 1.5 (clipped to 1.2) and .5, advantage 2; reference behind by log 2
    new, old = _t(log(0.75), log(0.25)).reshape(1, 2), _t(log(0.5), log(0.5)).reshape(1, 2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    result = grpo_loss(new, old, new + log(2), _t(2), mask, beta=0.1)
    k3 = 2 - log(2) - 1
    assert result.loss.item() == pytest.approx((-2.4 - 1.0) / 2 + 0.1 * k3)
    assert result.clipped.tolist() == [[True, False]]
    dr = grpo_loss(new, old, new + log(2), _t(2), mask, beta=0.1, length=8)
    assert dr.loss.item() == pytest.approx(result.loss.item() * 2 / 8)


def test_each_answer_weighs_the_same_or_each_token_does() -> None:
    for normalisation, weights in (("grpo", (1 / 3, 1.0)), ("dr-grpo", (1 / 6, 1 / 6))):
        batch, logp = _batch(_t(0, 1, 5, 5))
        rows = LOSSES["grpo"].loss(batch, normalisation=normalisation)
        rows.loss.sum().backward()
        unit = 0.5 if normalisation == "dr-grpo" else 0.5 / (math.sqrt(0.5) + 1e-4)
        assert logp.grad[0].tolist() == pytest.approx([unit * weights[0]] * 3)
        assert logp.grad[1].tolist() == pytest.approx([-unit * weights[1], 0, 0])
        assert rows.metrics["grpo/equal_groups"].tolist() == [0, 1]
        assert rows.metrics["grpo/dr_normalisation"].tolist() == [float(normalisation == "dr-grpo")] * 2


def test_equal_groups_are_only_drawn_to_the_reference() -> None:
    batch, logp = _batch(_t(2, 2, 2, 2))
    LOSSES["grpo"].loss(batch).loss.sum().backward()
    assert not logp.grad.any()
    batch, logp = _batch(_t(2, 2, 2, 2), behind=0.5)
    rows = LOSSES["grpo"].loss(batch, beta=1.0)
    rows.loss.sum().backward()
    assert bool((logp.grad[MASK] < 0).all())  # the reference likes them better
    assert rows.metrics["kl/token"].tolist() == pytest.approx([math.exp(0.5) - 1.5] * 8)
    with pytest.raises(ValueError, match="needs reference"):
        LOSSES["grpo"].loss(SampleBatch(logp, logp.detach(), MASK, _t(1, 0, 5, 5), GROUP, longest=2))
