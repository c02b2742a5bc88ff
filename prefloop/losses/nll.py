"""Supervised fine-tuning: the negative log-likelihood of completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import CompletionBatch, Loss, LossRows
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class NLLResult(NamedTuple):
    loss: Tensor  # (B,) nats: the sum over a completion's tokens
    n_tokens: Tensor  # (B,) tokens the sum runs over, EOS included


def nll_loss(logp_sum: Tensor, n_tokens: Tensor) -> NLLResult:
    """Score each completion by the nats it costs; sum(loss) / sum(n_tokens) is the mean over tokens.

    Shapes: logp_sum (B,) summed over completion tokens with EOS, prompt excluded; n_tokens (B,).
    The sum is kept beside the count, because the mean over a batch of unequal completions is a choice of the loop:
    by token (every token counts the same) or by row (every completion does).
    """
    same_rows(logp_sum, n_tokens)
    return NLLResult(-logp_sum, n_tokens)


def _rows(batch: CompletionBatch) -> LossRows:
    return LossRows(nll_loss(batch.logp_sum, batch.n_tokens).loss, {"logps/chosen": batch.logp_sum.detach()})


NLL = Loss(name="nll", source="maximum likelihood", rows="demonstrations", rows_of=_rows, run_kind="sft")
NONE = Loss(name="none", source="nothing is trained", rows="none")
