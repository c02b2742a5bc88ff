"""The hinge losses: SLiC-HF's, which knows no reference, and the normalised one of RSO, which does."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import relu

from prefloop.losses.shapes import same_rows, soft_label


class HingeResult(NamedTuple):
    loss: Tensor  # (B,) not reduced
    margin: Tensor  # (B,) what the hinge is applied to, detached


def slic_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    target_logp_sum: Tensor | None = None,
    *,
    delta: float = 1.0,
    regularisation: float = 0.0,
    p_first: Tensor | float | None = None,
) -> HingeResult:
    """Ask the chosen answer to be delta nats more likely than the rejected one, and keep the target likely.

    Shapes: (B,), sums over completion tokens, not normalised by length; no reference model.
    loss = max(0, delta - logp(y+) + logp(y-)) - regularisation * logp(target).
    Source: Zhao et al. 2023, arXiv:2305.10425. (What OAIF and TRL call SLiC or hinge is `hinge_norm_loss`.)
    """
    same_rows(chosen_logp_sum, rejected_logp_sum)
    if (target_logp_sum is None) != (regularisation == 0):
        raise ValueError("the regulariser needs its target, and the target its weight")
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    margin = chosen_logp_sum - rejected_logp_sum
    loss = p * relu(delta - margin) + (1 - p) * relu(delta + margin)
    if target_logp_sum is not None:
        same_rows(target_logp_sum, loss)
        loss = loss - regularisation * target_logp_sum
    return HingeResult(loss, margin.detach())


def hinge_norm_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    gamma: float,
    p_first: Tensor | float | None = None,
) -> HingeResult:
    """Ask the difference of log-ratios h to be at least 1 / gamma: max(0, 1 - gamma h).

    Shapes: all four tensors (B,), sums over completion tokens, in nats.
    Source: Liu et al. 2023 (RSO), arXiv:2309.06657, hinge-norm. At policy == reference the loss is 1.
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    margin = gamma * ((chosen_logp_sum - ref_chosen_logp_sum) - (rejected_logp_sum - ref_rejected_logp_sum))
    return HingeResult(p * relu(1 - margin) + (1 - p) * relu(1 + margin), margin.detach())
