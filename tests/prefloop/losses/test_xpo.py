"""XPO by hand, what its bonus does to a step's gradient, and on which of the two answers it lies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefloop.engine.pieces import Row, pieces_of
from prefloop.engine.step_losses import Answers, RowLoss
from prefloop.engine.sums import Sums
from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.xpo import xpo_loss
from prefloop.policy.batches import PackItem
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.recipe import Objective
from prefloop.types import Completion, Group, Pair


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # h = 0.5 ((-8 + 9) - (-12 + 10)) = 1.5; the reference drew the worse answer, of log-prob -12
    batch = PairBatch(_t(-8), _t(-12), _t(1), _t(-9), _t(-10), target_logp_sum=_t(-12))
    rows = LOSSES["xpo"].loss(batch, beta=0.5, alpha=0.01)
    assert rows.loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)) - 0.12)
    assert rows.metrics["loss/xpo"].item() == pytest.approx(-0.12)
    assert rows.metrics["loss/dpo"].item() == pytest.approx(math.log(1 + math.exp(-1.5)))
    assert rows.metrics["rewards/margins"].item() == pytest.approx(1.5)
    corrected = PairBatch(_t(-8), _t(-12), _t(1), _t(-9), _t(-10))  # by people: nobody has just drawn an answer
    assert LOSSES["xpo"].loss(corrected, beta=0.5, alpha=0.01).loss.item() == pytest.approx(
        dpo_loss(_t(-8), _t(-12), _t(-9), _t(-10), beta=0.5).loss.item()
    )


@given(st.floats(-30, 0), st.floats(-30, 0), st.floats(0, 1), st.floats(0, 2))
def test_the_bonus_adds_alpha_to_the_slope_of_the_references_answer(w: float, lose: float, p: float, a: float) -> None:
    def slopes(alpha: float) -> list[torch.Tensor]:
        own, theirs = _t(w).requires_grad_(), _t(lose).requires_grad_()
        loss = xpo_loss(own, theirs, _t(-3), _t(-4), theirs, beta=0.2, alpha=alpha, p_first=p).loss
        return list(torch.autograd.grad(loss.sum(), (own, theirs)))

    (own, theirs), (plain_own, plain_theirs) = slopes(a), slopes(0.0)
    torch.testing.assert_close(own, plain_own)
    torch.testing.assert_close(theirs, plain_theirs + a)  # descent makes it less likely


@pytest.mark.parametrize("order", [("current", "initial"), ("initial", "current")])
def test_in_a_step_the_bonus_lies_on_the_answer_that_is_not_the_policys_own(order: tuple[str, str]) -> None:
    policy = tiny_policy(seed=1)
    answers = {"current": (5, 9), "initial": (7, 11, 3)}
    group = Group("p0", tuple(Completion(text="", ids=answers[source], source=source) for source in order))
    step = RowLoss(Objective(loss="xpo", beta=0.3, alpha=0.05))
    (drawn,) = step.rows([Answers(0, "p0", "Say.", (83, 97), group)], {0: [Pair(0, 1, 1.0)]})
    corrected = Row(PackItem((83, 98), ((4,), (6,))), p_first=0.0)  # people's, replayed beside it
    (piece,) = pieces_of(policy.model, [drawn, corrected], token_budget=4096)
    piece.kept["ref"] = torch.zeros_like(piece.packed.owner, dtype=torch.float32)
    values, sums = step.forward(policy.model, piece), Sums()
    found = step.loss(piece, values, sums)
    logps = {
        piece.rows[place].item.completions[at]: value
        for (place, at), value in zip(piece.answers(), values.of, strict=True)
    }
    first, second = (logps[answers[source]] for source in order)
    plain = -torch.nn.functional.logsigmoid(0.3 * (first - second))
    other = -torch.nn.functional.logsigmoid(0.3 * (logps[(6,)] - logps[(4,)]))
    torch.testing.assert_close(found, plain + 0.05 * logps[answers["initial"]] + other)
