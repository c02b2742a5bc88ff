"""RRHF: rank several answers to a prompt by their length-normalised likelihood, and imitate the best.

Departures from the released code, which differs from the paper's text:
1. A candidate's likelihood is divided by its own number of tokens. The released code divides by the padded length,
   the same for all, because it overwrites the -100 labels in place before it counts them.
2. The imitation term is the sum over the best answer's tokens, kept apart in the result, not a mean over padding.
3. Answers that share the best score share the imitation term; the released code takes the first of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import HINGES, GroupBatch, Loss, LossRows, number
from prefloop.losses.later import torch

if TYPE_CHECKING:
    from torch import Tensor


class RRHFResult(NamedTuple):
    loss: Tensor  # (G,) per prompt: rank_weight * rank + imitation, not reduced
    rank: Tensor  # (G,) nats a token, summed over the pairs that scores order; detached
    imitation: Tensor  # (G,) nats, minus the best answer's log-likelihood; detached


def rrhf_loss(logp_sum: Tensor, n_tokens: Tensor, scores: Tensor, *, rank_weight: float = 1.0) -> RRHFResult:
    """Charge every pair that the policy's likelihood per token orders against the scores, and the best answer's nats.

    Shapes: (G, K): K answers to each of G prompts; logp_sum in nats over completion tokens, n_tokens > 0.
    loss = rank_weight * sum over r_i < r_j of max(0, s_i - s_j) - logp(best), with s = logp_sum / n_tokens.
    No reference model and no margin. Source: Yuan et al. 2023, arXiv:2304.05302, the rank and fine-tuning losses.
    rank_weight: 1 in the released training script (100 in its dataclass).
    """
    if logp_sum.ndim != 2 or not logp_sum.shape == n_tokens.shape == scores.shape or logp_sum.shape[1] == 0:
        raise ValueError(
            f"expected three (G, K), not {tuple(logp_sum.shape)}, {tuple(n_tokens.shape)}, {tuple(scores.shape)}"
        )
    if not bool((n_tokens > 0).all()):
        raise ValueError("every answer needs at least one token")
    s = logp_sum / n_tokens
    worse = scores[:, :, None] < scores[:, None, :]  # (G, i, j): r_i < r_j
    rank = (torch.relu(s[:, :, None] - s[:, None, :]) * worse).sum(dim=(1, 2))
    best = (scores == scores.amax(dim=1, keepdim=True)).to(logp_sum.dtype)
    imitation = -torch.where(best > 0, logp_sum, 0.0).sum(dim=1) / best.sum(dim=1)
    return RRHFResult(rank_weight * rank + imitation, rank.detach(), imitation.detach())


def _rows(batch: GroupBatch, *, rank_weight: float) -> LossRows:
    result = rrhf_loss(batch.logp_sum, batch.n_tokens, batch.scores, rank_weight=rank_weight)
    best, worst = batch.scores.argmax(1, keepdim=True), batch.scores.argmin(1, keepdim=True)
    sums = batch.logp_sum.detach()
    per_token = sums / batch.n_tokens
    differ = (batch.scores.amax(1) > batch.scores.amin(1))[:, None]
    margin = (per_token.gather(1, best) - per_token.gather(1, worst))[differ]
    metrics = {
        "rrhf/rank": result.rank,
        "rrhf/imitation": result.imitation,
        "logps/chosen": sums.gather(1, best).squeeze(1),
        "logps/rejected": sums.gather(1, worst).squeeze(1),
        "rewards/accuracies": (margin > 0).to(margin.dtype),  # RRHF's likelihood is per token
        "rewards/margins": margin,
    }
    return LossRows(result.loss, metrics)


RRHF = Loss(
    name="rrhf",
    source="Yuan et al. 2023, arXiv:2304.05302",
    rows="groups",
    rows_of=_rows,
    needs=frozenset({"scores"}),
    numbers=(
        number(
            "rank_weight",
            1.0,
            minimum=0.0,
            label="Weight of the ranking",
            help="Weight of the ranking term, relative to imitating the best answer.",
            source="Yuan et al. 2023 (RRHF), arXiv:2304.05302, released script: 1; 100 in its dataclass",
        ),
    ),
    rest=lambda settings: HINGES,
)
