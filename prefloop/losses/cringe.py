"""Cringe: push an unwanted token below a token the model itself likes, and its pairwise form with a gate.

Departures:
1. The positive token is chosen by a uniform draw that the caller gives, so that the loss is a pure function.
2. The gate of the pairwise form is under stop-gradient, so that its gradient is gate * the binary gradient. The
   paper's own constants (b, tau, alpha, k) could not be read first-hand: they are parameters without defaults.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from prefloop.losses.shapes import same_rows


class PairwiseCringeResult(NamedTuple):
    loss: Tensor  # (B,) gate * binary loss, not reduced
    gate: Tensor  # (B,) in (0, 1), detached; 1/2 where the margin is b


def cringe_candidates(logits: Tensor, token_ids: Tensor, *, k: int) -> Tensor:
    """Find at each position the k best logits (T, k) among the top k + 1 without the unwanted token.

    Shapes: logits (T, V) at the predicting positions, token_ids (T,). Where the unwanted token is not among the
    top k + 1, the last of these is dropped instead.
    """
    if logits.ndim != 2 or token_ids.shape != logits.shape[:1]:
        raise ValueError(f"logits must be (T, V) and token_ids (T,), not {tuple(logits.shape)}")
    if not 1 <= k < logits.shape[1]:
        raise ValueError(f"k must be from 1 to {logits.shape[1] - 1}, not {k}")
    top, index = logits.topk(k + 1, dim=1)
    unwanted = index == token_ids[:, None]
    unwanted[:, -1] |= ~unwanted.any(dim=1)
    return top[~unwanted].view(-1, k)


def cringe_token_loss(logits: Tensor, token_ids: Tensor, draws: Tensor, *, k: int = 1) -> Tensor:
    """Score each unwanted token (T,) by -log sigma(s* - s_unwanted), s* drawn from the softmax of its k candidates.

    Shapes: logits (T, V), token_ids (T,), draws (T,) uniform in [0, 1). Gradient flows into both logits.
    Source: Adolphs et al. 2022, arXiv:2211.05826; ParlAI's defaults: k = 1, weight 1 (Click's baseline: 5, .2).
    """
    same_rows(token_ids, draws)
    candidates = cringe_candidates(logits, token_ids, k=k)
    cumulative = candidates.detach().softmax(dim=1).cumsum(dim=1)
    chosen = (cumulative <= draws[:, None]).sum(dim=1).clamp(max=k - 1)  # the clamp: a cumsum may end below 1
    s_star = candidates.gather(1, chosen[:, None]).squeeze(1)
    return softplus(logits.gather(1, token_ids[:, None]).squeeze(1) - s_star)


def expected_cringe_token_loss(logits: Tensor, token_ids: Tensor, *, k: int = 1) -> Tensor:
    """Average `cringe_token_loss` (T,) over the draw; the candidates' probabilities carry no gradient."""
    candidates = cringe_candidates(logits, token_ids, k=k)
    losses = softplus(logits.gather(1, token_ids[:, None]) - candidates)
    return (candidates.detach().softmax(dim=1) * losses).sum(dim=1)


def binary_cringe_loss(
    positive_logp_sum: Tensor,
    positive_n_tokens: Tensor,
    negative_cringe_sum: Tensor,
    negative_n_tokens: Tensor,
    *,
    alpha: float,
) -> Tensor:
    """Add the positive answer's nats a token and alpha times the negative one's cringe a token: (B,).

    Shapes: all (B,); negative_cringe_sum is the sum of `cringe_token_loss` over the negative answer's tokens.
    """
    same_rows(positive_logp_sum, positive_n_tokens, negative_cringe_sum, negative_n_tokens)
    return -positive_logp_sum / positive_n_tokens + alpha * negative_cringe_sum / negative_n_tokens


def pairwise_cringe_loss(
    chosen_logp_sum: Tensor, rejected_logp_sum: Tensor, binary_loss: Tensor, *, b: float, tau: float
) -> PairwiseCringeResult:
    """Weigh a pair's binary loss by how little the policy already prefers the chosen answer.

    Shapes: all (B,), log-probs summed over completion tokens, in nats. gate = sg[sigma((b - M) / tau)],
    M = logp(chosen) - logp(rejected). Source: Xu et al. 2023, arXiv:2312.16682v2, the pairwise Cringe loss.
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, binary_loss)
    if tau <= 0:
        raise ValueError(f"tau must be positive, not {tau}")
    margin = (chosen_logp_sum - rejected_logp_sum).detach()
    gate = torch.sigmoid((b - margin) / tau)
    return PairwiseCringeResult(gate * binary_loss, gate)
