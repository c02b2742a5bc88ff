"""XPO: DPO between an answer of the policy and one of its reference, with a bonus for what the reference would not say.

Departure: a soft label p mixes both directions of DPO's term; the paper has only hard labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.later import torch
from prefloop.losses.pairs import pair_metrics, references
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class XPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, per pair, not reduced
    bonus: Tensor  # (B,) alpha * log pi of the reference's answer, detached: part of the loss
    chosen_reward: Tensor  # (B,) beta * log-ratio, detached
    rejected_reward: Tensor  # (B,)


def xpo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    drawn_by_ref_logp_sum: Tensor,
    *,
    beta: float,
    alpha: float,
    p_first: Tensor | float | None = None,
) -> XPOResult:
    """Add to DPO's loss of each pair alpha times the policy's log-prob of the answer that the reference drew.

    Shapes: all (B,), sums over completion tokens, in nats; `drawn_by_ref_logp_sum` is the policy's, of one of the two
    answers. The sum is minimised: what the reference would say becomes less likely, and the policy explores.
    Source: Xie et al. 2024, arXiv:2405.21046, Algorithm 1. At alpha = 0 this is DPO.
    """
    same_rows(chosen_logp_sum, drawn_by_ref_logp_sum)
    plain = dpo_loss(
        chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum, beta=beta, p_first=p_first
    )
    bonus = alpha * drawn_by_ref_logp_sum
    return XPOResult(plain.loss + bonus, bonus.detach(), plain.chosen_reward, plain.rejected_reward)


def _rows(batch: PairBatch, *, beta: float, alpha: float) -> LossRows:
    """A pair that people corrected has no answer that the reference has just drawn, and no bonus."""
    of_reference = batch.target_logp_sum
    result = xpo_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        *references(batch, "xpo"),
        torch.zeros_like(batch.first_logp_sum) if of_reference is None else of_reference,
        beta=beta,
        alpha=alpha,
        p_first=batch.p_first,
    )
    metrics = pair_metrics(batch, result.chosen_reward, result.rejected_reward)
    return LossRows(
        result.loss, metrics | {"loss/dpo": (result.loss - result.bonus).detach(), "loss/xpo": result.bonus}
    )


XPO = Loss(
    name="xpo",
    source="Xie et al. 2024, arXiv:2405.21046",
    rows_of=_rows,
    needs=frozenset({"ref"}),
    in_steps=True,
    target=lambda settings: "reference",
    numbers=(
        number(
            "beta",
            0.1,
            above=0.0,
            label="β, the pull to the reference",
            help="Pull to the reference.",
            source="Xie et al. 2024, arXiv:2405.21046; TRL: 0.1",
        ),
        number(
            "alpha",
            1e-5,
            minimum=0.0,
            label="α, weight of the bonus",
            help="Weight of the exploration bonus, which makes answers of the reference less likely; 0 is DPO.",
            source="TRL: 1e-5",
        ),
        reference(),
    ),
    rest=lambda settings: AT_ODDS,
)
