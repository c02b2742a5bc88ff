"""SPIN: tell the data's answer from the last policy's own, in DPO's form with lambda.

Departures: none. Opponent and reference are one policy, that of the round before; with lambda < 1 the population
optimum overshoots the data.
"""

from __future__ import annotations

from torch import Tensor

from prefloop.losses.dpo import DPOResult, dpo_loss


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
