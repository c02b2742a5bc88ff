"""RSO's losses: sigmoid-norm and hinge-norm, whose gamma is free of the sampler's beta.

Departures: none. The sampler is `prefloop.recipes.filters.rejection_sample`; the hinge is `slic.hinge_norm_loss`,
given here again because the paper names both.
"""

from __future__ import annotations

from torch import Tensor

from prefloop.losses.dpo import DPOResult, dpo_loss
from prefloop.losses.slic import hinge_norm_loss

__all__ = ["hinge_norm_loss", "sigmoid_norm_loss"]


def sigmoid_norm_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    gamma: float = 0.05,
    p_first: Tensor | float | None = None,
) -> DPOResult:
    """Score each pair by -log sigma(gamma h): DPO's loss, gamma decoupled from the beta of the target law.

    Shapes: all four tensors (B,), sums over completion tokens, in nats.
    Source: Liu et al. 2023, arXiv:2309.06657, sigmoid-norm; gamma .05 best of {.005, .05, .5}.
    (TRL's `sigmoid_norm` is something else: it averages log-ratios over tokens.)
    """
    return dpo_loss(
        chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum, beta=gamma, p_first=p_first
    )
