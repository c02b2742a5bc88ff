"""WPO by hand, what weighs an answer, and that weights have no gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.tokens import forward_collision
from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.wpo import log_weight, wpo_loss
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.tiny import tiny_policy


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _batch() -> PairBatch:
    return PairBatch(
        _t(-8), _t(-12), _t(1), _t(-9), _t(-10), _t(4), _t(6), first_collision_sum=_t(-6), second_collision_sum=_t(-9)
    )


def test_by_hand() -> None:
    # h = 0.5 ((-8 + 9) - (-12 + 10)) = 1.5; log-weights (-8 + 6) / 4 = -0.5 and (-12 + 9) / 6 = -0.5
    rows = LOSSES["wpo"].loss(_batch(), beta=0.5)
    assert rows.loss.item() == pytest.approx(math.exp(-1.0) * math.log(1 + math.exp(-1.5)))
    assert rows.metrics["wpo/log_weight"].item() == pytest.approx(-1.0)
    assert rows.metrics["rewards/margins"].item() == pytest.approx(1.5)
    with pytest.raises(ValueError, match="how sure"):
        LOSSES["wpo"].loss(PairBatch(_t(-8), _t(-12), _t(1), _t(-9), _t(-10), _t(4), _t(6)))


@given(st.floats(-30, 0), st.floats(-30, 0), st.floats(-5, 0), st.floats(-5, 0), st.floats(0, 1))
def test_the_gradient_is_dpos_times_the_weights(w: float, lose: float, one: float, two: float, p: float) -> None:
    def gradient(weighted: bool) -> torch.Tensor:
        chosen = _t(w).requires_grad_()
        if weighted:
            loss = wpo_loss(chosen, _t(lose), _t(-3), _t(-4), _t(one), _t(two), beta=0.2, p_first=p).loss
        else:
            loss = dpo_loss(chosen, _t(lose), _t(-3), _t(-4), beta=0.2, p_first=p).loss
        (found,) = torch.autograd.grad(loss.sum(), chosen)
        return found

    torch.testing.assert_close(gradient(weighted=True), math.exp(one + two) * gradient(weighted=False))


def test_what_the_policy_would_write_weighs_more_than_what_it_would_not() -> None:
    """Of a policy's own greedy tokens each is likelier than two draws agree; of its least likely ones none is."""
    model = tiny_policy(seed=3, std=0.3).model
    prompt = (5, 9, 11)
    likely, unlikely = [], []
    for _ in range(4):
        likely.append(int(model(torch.tensor([[*prompt, *likely]])).logits[0, -1].argmax()))
        unlikely.append(int(model(torch.tensor([[*prompt, *unlikely]])).logits[0, -1].argmin()))
    (packed,) = pack_groups([PackItem(prompt, (tuple(likely), tuple(unlikely)))], token_budget=1000)
    logps, collisions = forward_collision(model, packed)
    assert not collisions.requires_grad
    weights = log_weight(logps, collisions, packed.lengths())
    assert not weights.requires_grad
    own, strange = weights.tolist()
    assert own > 0 > strange
