"""Cringe: push an unwanted token below a token the model itself likes, and its pairwise form with a gate.

Departures:
1. The positive token is chosen by a uniform draw that the caller gives, so that the loss is a pure function.
2. The gate of the pairwise form is under stop-gradient, so that its gradient is gate * the binary gradient. The
   paper's own constants (b, tau, alpha, k) could not be read first-hand: they are parameters without defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, LossRows, PairBatch, number
from prefloop.losses.later import torch
from prefloop.losses.pairs import by_label, lengths, pair_metrics
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


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
    return torch.nn.functional.softplus(logits.gather(1, token_ids[:, None]).squeeze(1) - s_star)


def expected_cringe_token_loss(logits: Tensor, token_ids: Tensor, *, k: int = 1) -> Tensor:
    """Average `cringe_token_loss` (T,) over the draw; the candidates' probabilities carry no gradient."""
    candidates = cringe_candidates(logits, token_ids, k=k)
    losses = torch.nn.functional.softplus(logits.gather(1, token_ids[:, None]) - candidates)
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


def _rows(batch: PairBatch, *, alpha: float, b: float, tau: float) -> LossRows:
    """The gated binary loss of each pair; k is used where the two cringe sums are made."""
    if batch.first_cringe_sum is None or batch.second_cringe_sum is None:
        raise ValueError("cringe needs both answers' cringe sums")
    n_first, n_second = lengths(batch, "cringe")
    better, worse = by_label(batch, "cringe", batch.first_logp_sum, batch.second_logp_sum)
    n_better, n_worse = by_label(batch, "cringe", n_first, n_second)
    _, cringe = by_label(batch, "cringe", batch.first_cringe_sum, batch.second_cringe_sum)
    binary = binary_cringe_loss(better, n_better, cringe, n_worse, alpha=alpha)
    result = pairwise_cringe_loss(better, worse, binary, b=b, tau=tau)
    return LossRows(result.loss, pair_metrics(batch) | {"cringe/gate": result.gate})


_PAPER = "Xu et al. 2023, arXiv:2312.16682v2"

CRINGE = Loss(
    name="cringe",
    source=_PAPER,
    rows_of=_rows,
    needs=frozenset({"cringe"}),
    hard_labels=True,
    numbers=(
        number(
            "alpha",
            1.0,
            minimum=0.0,
            label="α, weight of the worse answer",
            help="Weight of the cringe loss on the worse answer, relative to the likelihood of the better one.",
            source="Adolphs et al. 2022, arXiv:2211.05826, ParlAI: 1; Click's baseline .2",
        ),
        number(
            "k",
            5,
            minimum=1,
            maximum=1024,
            folded=True,
            label="k, preferred tokens",
            help="Number of most likely tokens, one of which is drawn and preferred to the unwanted token.",
            source="Click's baseline: 5; ParlAI: 1",
        ),
        number(
            "b",
            0.0,
            folded=True,
            label="b, where the gate is half open",
            help="Margin in nats at which the gate is half open.",
            source=f"this project's; {_PAPER}",
        ),
        number(
            "tau",
            10.0,
            above=0.0,
            label="τ, softness of the gate",
            help="How softly the gate σ((b - margin) / τ) closes.",
            source=f"this project's; could not be verified in {_PAPER}",
        ),
    ),
    rest=lambda settings: "its gate moves with the policy",
)
