"""PPO on tokens with the KL in the reward, and the plain policy gradients (REINFORCE, RLOO) on whole answers.

Departures from TRL's PPO trainer, from which the defaults are:
1. The score is added at the last real token (EOS where there is one). TRL adds it one position further.
2. Everything after EOS is masked, and reads 0 in every result, whatever stands there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k3"]


class Advantages(NamedTuple):
    advantages: Tensor  # (B, T) 0 outside the mask, detached
    returns: Tensor  # (B, T) what the value head is fitted to, detached


class ClippedResult(NamedTuple):
    loss: Tensor  # (B, T) 0 outside the mask, not reduced
    clipped: Tensor  # (B, T) bool: where clipping took the gradient away


class ReinforceResult(NamedTuple):
    loss: Tensor  # (B,) surrogate, not reduced


def mask_after_eos(token_ids: Tensor, eos_id: int) -> Tensor:
    """Mark (B, T) the completion's tokens up to and with its first EOS."""
    if token_ids.ndim != 2:
        raise ValueError(f"token_ids must be (B, T), not {tuple(token_ids.shape)}")
    is_eos = (token_ids == eos_id).long()
    return is_eos.cumsum(dim=1) - is_eos == 0


def token_rewards(
    logp: Tensor,
    ref_logp: Tensor,
    mask: Tensor,
    score: Tensor,
    *,
    kl_coef: float = 0.05,
    estimator: KLEstimator = "k1",
    finished: Tensor | None = None,
    missing_eos_penalty: float = 0.0,
) -> Tensor:
    """Place the reward (B, T): -kl_coef * k at every token, and the score at the last.

    Shapes: logp, ref_logp, mask (B, T); score, finished (B,). k1 = logp - ref_logp, whose sum's mean is the sequence
    KL; k3 = exp(-k1) - 1 + k1 has the same mean and is never negative. An answer that is not finished pays the penalty.
    Source: Ziegler et al. 2019, arXiv:1909.08593, in TRL's form; kl_coef .05.
    """
    _same(logp, ref_logp, mask)
    if score.shape != logp.shape[:1]:
        raise ValueError(f"score must be (B,), not {tuple(score.shape)}")
    k1 = logp.detach() - ref_logp
    k = k1 if estimator == "k1" else torch.expm1(-k1) + k1
    rewards = torch.where(mask, -kl_coef * k, 0.0)
    if finished is not None:
        score = score - missing_eos_penalty * (~finished)
    return rewards + torch.where(_last(mask), score[:, None], 0.0).to(rewards.dtype)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Advantages:
    """Estimate advantages by exponentially weighted temporal differences; nothing is worth anything after the end.

    Shapes: all (B, T), the mask true from the first position to the last token. values[t] is before token t.
    Source: Schulman et al. 2015, arXiv:1506.02438, the generalised advantage estimator.
    lam = 1: reward-to-go minus value; lam = 0: one step.
    """
    _same(rewards, values, mask)
    rewards, values = (torch.where(mask, x, 0.0).detach() for x in (rewards, values))
    ahead = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(ahead)
    out = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        ahead = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * ahead
        out[:, t] = ahead
        next_value = values[:, t]
    out = torch.where(mask, out, 0.0)
    return Advantages(out, torch.where(mask, out + values, 0.0))


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True, eps: float = 1e-8) -> Tensor:
    """Scale the masked values (B, T) to variance 1 over the whole batch, and to mean 0 unless the mean is kept."""
    _same(values, mask)
    n = mask.sum()
    if int(n) < 2:
        raise ValueError("whitening needs at least two values")
    centre = torch.where(mask, values, 0.0).sum() / n
    variance = torch.where(mask, (values - centre) ** 2, 0.0).sum() / (n - 1)
    scaled = (values - centre) * torch.rsqrt(variance + eps)
    return torch.where(mask, scaled if shift_mean else scaled + centre, 0.0)


def ppo_clip_loss(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, *, clip: float = 0.2
) -> ClippedResult:
    """Score each token by the worse of the plain and the clipped importance-weighted advantage.

    Shapes: all (B, T), nats. loss = max(-A w, -A clamp(w, 1 - clip, 1 + clip)), w = exp(logp - old_logp).
    Source: Schulman et al. 2017, arXiv:1707.06347, the clipped objective.
    At logp == old_logp its gradient is -A, that of REINFORCE.
    """
    _same(logp, old_logp, advantages, mask)
    log_ratio = torch.where(mask, logp - old_logp, 0.0)  # before exp: what stands in padding must not overflow
    ratio = log_ratio.exp()
    advantages = advantages.detach()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return ClippedResult(torch.where(mask, torch.maximum(plain, clipped), 0.0), mask & (clipped > plain))


def value_clip_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float = 0.2
) -> ClippedResult:
    """Score each token's value by half the worse squared error, of the value and of the value held near the old one.

    Shapes: all (B, T). The loop weighs it by the value coefficient (.1 in TRL).
    """
    _same(values, old_values, returns, mask)
    held = old_values + (values - old_values).clamp(-clip, clip)
    plain, clipped = (values - returns) ** 2, (held - returns) ** 2
    return ClippedResult(torch.where(mask, 0.5 * torch.maximum(plain, clipped), 0.0), mask & (clipped > plain))


def rloo_advantages(returns: Tensor) -> Tensor:
    """Subtract from each return (G, K) the mean of the other K - 1 of its prompt.

    `returns` hold the KL penalty already: score - beta * (logp_sum - ref_logp_sum), detached.
    Source: Ahmadian et al. 2024, arXiv:2402.14740, RLOO.
    """
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise ValueError(f"returns must be (G, K) with K of 2 or more, not {tuple(returns.shape)}")
    k = returns.shape[1]
    return (returns - (returns.sum(dim=1, keepdim=True) - returns) / (k - 1)).detach()


def reinforce_loss(logp_sum: Tensor, advantage: Tensor) -> ReinforceResult:
    """Weigh each answer's log-likelihood (B,) by its advantage (B,), which carries no gradient."""
    if logp_sum.ndim != 1:
        raise ValueError(f"logp_sum must be (B,), not {tuple(logp_sum.shape)}")
    _same(logp_sum, advantage)
    return ReinforceResult(-logp_sum * advantage.detach())


def _last(mask: Tensor) -> Tensor:
    """The last true position of each row; a row of nothing has none."""
    position = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, position, -1).amax(dim=1, keepdim=True)
    return position == last


def _same(*tensors: Tensor) -> None:
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        raise ValueError(f"expected tensors of one shape, not {[tuple(tensor.shape) for tensor in tensors]}")
