"""SPIN: tell the data's answer from the last policy's own, in DPO's form with lambda.

Departures: none. Opponent and reference are one policy, that of the round before; with lambda < 1 the population
optimum overshoots the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.dpo import DPOResult, dpo_loss
from prefloop.losses.pairs import by_label, pair_metrics, references

if TYPE_CHECKING:
    from torch import Tensor


def spin_loss(
    real_logp_sum: Tensor,
    generated_logp_sum: Tensor,
    opponent_real_logp_sum: Tensor,
    opponent_generated_logp_sum: Tensor,
    *,
    lambda_: float,
) -> DPOResult:
    """Score each pair by how much more than the opponent the policy prefers the data's answer to the opponent's.

    Shapes: all four tensors (B,), sums over completion tokens, in nats. loss = -log sigma(lambda * h).
    Source: Chen et al. 2024, arXiv:2401.01335, the logistic loss; released lambda: .1, and 5 in the last iteration.
    At policy == opponent the loss is log 2.
    """
    return dpo_loss(
        real_logp_sum, generated_logp_sum, opponent_real_logp_sum, opponent_generated_logp_sum, beta=lambda_
    )


def _rows(batch: PairBatch, *, lambda_: float) -> LossRows:
    first, second = batch.first_logp_sum, batch.second_logp_sum
    ref_first, ref_second = references(batch, "spin")
    real, generated = by_label(batch, "spin", first, second)
    ref_real, ref_generated = by_label(batch, "spin", ref_first, ref_second)
    loss = spin_loss(real, generated, ref_real, ref_generated, lambda_=lambda_).loss
    return LossRows(loss, pair_metrics(batch, lambda_ * (first - ref_first), lambda_ * (second - ref_second)))


SPIN = Loss(
    name="spin",
    source="Chen et al. 2024, arXiv:2401.01335",
    rows_of=_rows,
    needs=frozenset({"ref"}),
    hard_labels=True,
    numbers=(
        number(
            "lambda_",
            0.1,
            above=0.0,
            label="λ",
            help="SPIN's λ: below 1 the population optimum overshoots the data.",
            source="Chen et al. 2024, arXiv:2401.01335, released code: 0.1, and 5 in the last iteration",
        ),
        reference(),
    ),
    rest=lambda settings: AT_ODDS,
)
