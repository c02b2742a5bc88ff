"""The Bradley-Terry loss of a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, RESTS, Loss, LossRows, PairBatch, number
from prefloop.losses.later import torch
from prefloop.losses.pairs import pair_metrics
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class BradleyTerryResult(NamedTuple):
    loss: Tensor  # (B,) nats, not reduced
    difference: Tensor  # (B,) reward_chosen - reward_rejected, detached


def bradley_terry_loss(
    reward_chosen: Tensor,
    reward_rejected: Tensor,
    *,
    margin: Tensor | float | None = None,
    p: Tensor | float | None = None,
    center_coef: float = 0.0,
) -> BradleyTerryResult:
    """Score each pair by how unlikely its label is under sigma(r_chosen - r_rejected - margin).

    Shapes: rewards, margin and p (B,) (margin and p may be numbers). p is a soft label for the chosen place
    (Lee et al. 2023, arXiv:2309.00267: -[p log sigma(D) + (1 - p) log sigma(-D)]); margin is Llama 2's
    (arXiv:2307.09288, section 3.2.2); center_coef * (r_c + r_r)^2 holds the free constant near zero.
    With equal rewards and no margin the loss is log 2. A margin says which answer is better, so with a soft label
    it is taken for the chosen place when p > 1/2, against it when p < 1/2, and not at all when p = 1/2.
    """
    same_rows(reward_chosen, reward_rejected)
    label = soft_label(p, 0.0, like=reward_chosen)
    difference = reward_chosen - reward_rejected
    shifted = difference if margin is None else difference - margin * (2 * label - 1).sign()
    loss = -label * torch.nn.functional.logsigmoid(shifted) - (1 - label) * torch.nn.functional.logsigmoid(-shifted)
    if center_coef:
        loss = loss + center_coef * (reward_chosen + reward_rejected) ** 2
    return BradleyTerryResult(loss, difference.detach())


def _rows(batch: PairBatch, *, center: float) -> LossRows:
    """The batch's log-probs are rewards."""
    first, second = batch.first_logp_sum, batch.second_logp_sum
    loss = bradley_terry_loss(first, second, p=batch.p_first, center_coef=center).loss
    return LossRows(loss, pair_metrics(batch, first, second, logps=False))


BRADLEY_TERRY = Loss(
    name="bradley-terry",
    source="Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155",
    rows_of=_rows,
    needs=frozenset({"rewards"}),
    run_kind="reward-model",
    numbers=(
        number(
            "center",
            0.0,
            minimum=0.0,
            folded=True,
            label="Centering",
            help="Weight of the squared sum of a pair's two rewards, which keeps rewards near zero.",
            source="Eisenstein et al. 2023, arXiv:2312.09244 (0.01 where it is used)",
        ),
    ),
    rest=lambda settings: RESTS if settings.center else AT_ODDS,
    note="a reward model trains no policy: the policy is the reference",
)
