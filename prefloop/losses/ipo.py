"""Identity preference optimisation."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from prefloop.losses.shapes import same_rows, soft_label


class IPOResult(NamedTuple):
    loss: Tensor  # (B,) nats squared, not reduced
    log_ratio_difference: Tensor  # (B,) h, detached; the loss pulls it to 1 / (2 tau)


def ipo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    tau: float,
    p_first: Tensor | float | None = None,
) -> IPOResult:
    """Pull the difference of log-ratios to 1 / (2 tau), and no further.

    Shapes: all four tensors (B,), sums over completion tokens, in nats: the paper's pi(y|x) is of the whole answer.
    (TRL's DPOTrainer averages over tokens instead, which changes what tau means by about the length.)
    Source: Azar et al. 2023, arXiv:2310.12036, the sampled IPO loss. p_first mixes both labels of a soft one.
    At policy == reference the loss is 1 / (4 tau^2); the least of it is at h = (2 p - 1) / (2 tau).
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    if tau <= 0:
        raise ValueError(f"tau must be positive, not {tau}")
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    h = (chosen_logp_sum - ref_chosen_logp_sum) - (rejected_logp_sum - ref_rejected_logp_sum)
    target = 1 / (2 * tau)
    return IPOResult(p * (h - target) ** 2 + (1 - p) * (h + target) ** 2, h.detach())


def ipo_mean_loss(
    chosen_logp_mean: Tensor,
    rejected_logp_mean: Tensor,
    ref_chosen_logp_mean: Tensor,
    ref_rejected_logp_mean: Tensor,
    *,
    tau: float,
    p_first: Tensor | float | None = None,
) -> IPOResult:
    """Pull the difference of log-ratios *per token* to 1 / (2 tau): IPO as TRL's DPOTrainer has it.

    Shapes: all four tensors (B,), means over each answer's own tokens, in nats a token. The same form as `ipo_loss`,
    under a name of its own, because tau means something else here (by a factor of about the length).
    Source: TRL pull request 1265, whose comment reports that the authors of arXiv:2310.12036 confirmed averaging.
    """
    return ipo_loss(
        chosen_logp_mean, rejected_logp_mean, ref_chosen_logp_mean, ref_rejected_logp_mean, tau=tau, p_first=p_first
    )
