"""PPO on tokens with the KL in the reward, and RLOO's baseline of whole answers.

Departures from TRL's PPO trainer, from which the defaults are:
1. The score is added at the last real token (EOS where there is one). TRL adds it one position further.
2. Everything after EOS is masked, and reads 0 in every result, whatever stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, number, reference
from prefloop.losses.later import torch

if TYPE_CHECKING:
    from torch import Tensor


class Advantages(NamedTuple):
    advantages: Tensor  # (B, T) 0 outside the mask, detached
    returns: Tensor  # (B, T) what the value head is fitted to, detached


class ClippedResult(NamedTuple):
    loss: Tensor  # (B, T) 0 outside the mask, not reduced
    clipped: Tensor  # (B, T) bool: where clipping took the gradient away


def token_rewards(
    logp: Tensor,
    ref_logp: Tensor,
    mask: Tensor,
    score: Tensor,
    *,
    kl_coef: float = 0.05,
    finished: Tensor | None = None,
    missing_eos_penalty: float = 0.0,
) -> Tensor:
    """Place the reward (B, T): -kl_coef * k at every token, and the score at the last.

    Shapes: logp, ref_logp, mask (B, T); score, finished (B,). k = logp - ref_logp, whose sum's mean is the sequence
    KL (k1). An answer that is not finished pays the penalty.
    Source: Ziegler et al. 2019, arXiv:1909.08593, in TRL's form; kl_coef .05.
    """
    _same(logp, ref_logp, mask)
    if score.shape != logp.shape[:1]:
        raise ValueError(f"score must be (B,), not {tuple(score.shape)}")
    rewards = torch.where(mask, -kl_coef * (logp.detach() - ref_logp), 0.0)
    if finished is not None:
        score = score - missing_eos_penalty * (~finished)
    return rewards + torch.where(_last(mask), score[:, None], 0.0).to(rewards.dtype)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Advantages:
    """Estimate advantages by exponentially weighted temporal differences; values after the end are 0.

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
    held = values.clamp(old_values - clip, old_values + clip)  # a value within is itself, to the last bit
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


def _last(mask: Tensor) -> Tensor:
    """The last true position of each row; a row of nothing has none."""
    position = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, position, -1).amax(dim=1, keepdim=True)
    return position == last


def _same(*tensors: Tensor) -> None:
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        raise ValueError(f"expected tensors of one shape, not {[tuple(tensor.shape) for tensor in tensors]}")


PPO = Loss(
    name="ppo",
    source="Schulman et al. 2017, arXiv:1707.06347; Ziegler et al. 2019, arXiv:1909.08593",
    rows="samples",
    needs=frozenset({"ref", "old", "scores", "values"}),
    in_steps=True,
    at_temperature_1=True,
    step="prefloop.engine.online.ppo:PPO",
    expectation="prefloop.tabular.methods:ppo",
    surrogate=True,
    numbers=(
        number(
            "beta",
            0.05,
            minimum=0.0,
            label="β, the pull to the reference",
            help="Weight of the KL to the reference, per token, subtracted from the reward.",
            source="TRL's PPO trainer: 0.05",
        ),
        number(
            "lambda_",
            0.95,
            minimum=0.0,
            maximum=1.0,
            label="λ of GAE",
            help="λ of GAE: 1 relies on the observed rewards, 0 on the value head.",
            source="Schulman et al. 2015, arXiv:1506.02438; TRL: 0.95",
        ),
        number(
            "clip_range",
            0.2,
            above=0.0,
            below=1.0,
            folded=True,
            label="Clip of the ratio",
            help="PPO's clip of the ratio, and of the value.",
            source="TRL, Llama 2: 0.2",
        ),
        number(
            "value_coef",
            0.1,
            minimum=0.0,
            folded=True,
            label="Weight of the value loss",
            help="Weight of the value loss.",
            source="TRL: 0.1",
        ),
        number(
            "passes",
            4,
            minimum=1,
            maximum=64,
            folded=True,
            label="Passes over a batch",
            help="Passes over one batch of samples.",
            source="TRL: 4; Llama 2: 1",
        ),
        number(
            "minibatches",
            1,
            minimum=1,
            maximum=1024,
            folded=True,
            label="Steps in a pass",
            help="Optimizer steps in one pass.",
            source="TRL: 1",
        ),
        number(
            "missing_eos_penalty",
            0.0,
            minimum=0.0,
            folded=True,
            label="Penalty for an unfinished answer",
            help="Subtracted from the score of an answer that reached the length limit without ending.",
            source="TRL's trainers have it; 0 is TRL's PPO",
        ),
        reference(),
    ),
)
