"""Direct preference optimisation (and cDPO, and soft labels)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefloop.losses.shapes import same_rows, soft_label


class DPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, per pair, not reduced
    chosen_reward: Tensor  # (B,) beta * log-ratio, detached
    rejected_reward: Tensor  # (B,)


def dpo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    beta: float,
    flip_probability: float = 0.0,
    p_first: Tensor | float | None = None,
) -> DPOResult:
    """Score each pair by how much more than the reference the policy prefers the chosen answer.

    Shapes: all four tensors (B,), summed over completion tokens, in nats; p_first (B,) or a number.
    Source: Rafailov et al. 2023, arXiv:2305.18290, the DPO loss; flip_probability: Mitchell 2023 (cDPO).
    p_first is the probability that the answer in the chosen place is better, where labels are soft:
    loss = p L(h) + (1 - p) L(-h), so flip_probability = e is p_first = 1 - e.
    At policy == reference the loss is log 2 for every pair, whatever beta and p_first are.
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    p = soft_label(p_first, flip_probability, like=chosen_logp_sum)
    chosen_ratio = chosen_logp_sum - ref_chosen_logp_sum  # rho(y_w)
    rejected_ratio = rejected_logp_sum - ref_rejected_logp_sum  # rho(y_l)
    h = beta * (chosen_ratio - rejected_ratio)
    loss = -p * logsigmoid(h) - (1 - p) * logsigmoid(-h)
    return DPOResult(loss, (beta * chosen_ratio).detach(), (beta * rejected_ratio).detach())


def implicit_reward_accuracy(result: DPOResult, p_first: Tensor | float = 1.0) -> Tensor:
    """Say for each pair (B,) whether the implicit rewards order it as its label does; equal rewards count as wrong."""
    p = torch.as_tensor(p_first, device=result.loss.device)
    return torch.where(
        p >= 0.5, result.chosen_reward > result.rejected_reward, result.rejected_reward > result.chosen_reward
    )
