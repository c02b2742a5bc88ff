"""ORPO: imitate the better answer, and raise the ratio of its odds to the worse one's; no reference model.

Departures:
1. The likelihood is of the answer. TRL's trainer counts the prompt's tokens too.
2. Where the mean probability per token rounds to 1 its odds are those of the largest number below 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number
from prefloop.losses.later import torch
from prefloop.losses.pairs import by_label, lengths, pair_metrics
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class ORPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, not reduced: the odds-ratio term alone
    chosen_log_odds: Tensor  # (B,) detached
    rejected_log_odds: Tensor  # (B,)


def log_odds(logp_mean: Tensor) -> Tensor:
    """Give log(p / (1 - p)) of p = exp(mean log-prob), (B,); finite also where p rounds to 1."""
    logp = logp_mean.clamp(max=-torch.finfo(logp_mean.dtype).eps)
    return logp - (-torch.expm1(logp)).log()


def odds_ratio_loss(chosen_logp_mean: Tensor, rejected_logp_mean: Tensor) -> ORPOResult:
    """Score each pair by -log sigma of the log of the ratio of the two answers' odds.

    Shapes: both (B,), means over each answer's own tokens with EOS, in nats a token.
    Source: Hong et al. 2024, arXiv:2403.07691, Eqs. 6 and 7. The objective is the better answer's negative
    log-likelihood, mean over tokens, and lambda (.1) times this.
    """
    same_rows(chosen_logp_mean, rejected_logp_mean)
    chosen, rejected = log_odds(chosen_logp_mean), log_odds(rejected_logp_mean)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected)
    return ORPOResult(loss, chosen.detach(), rejected.detach())


def _rows(batch: PairBatch, *, lambda_: float) -> LossRows:
    """Lambda times the odds ratio's term, and the likelihood of the target, which is the better answer."""
    n_first, n_second = lengths(batch, "orpo")
    first, second = batch.first_logp_sum / n_first, batch.second_logp_sum / n_second
    result = odds_ratio_loss(*by_label(batch, "orpo", first, second))
    metrics = pair_metrics(batch, lambda_ * log_odds(first), lambda_ * log_odds(second))
    likelihood, _ = by_label(batch, "orpo", batch.first_logp_sum, batch.second_logp_sum)
    return LossRows(lambda_ * result.loss, metrics, extra=-likelihood)


ORPO = Loss(
    name="orpo",
    source="Hong et al. 2024, arXiv:2403.07691",
    rows_of=_rows,
    hard_labels=True,
    target=lambda settings: "better",
    numbers=(
        number(
            "lambda_",
            0.1,
            minimum=0.0,
            label="λ, weight of the odds ratio",
            help="Weight of the odds ratio against the likelihood of the better answer.",
            source="Hong et al. 2024, arXiv:2403.07691: .1 (Mistral), .2 to .25 (Phi-2, Llama 2)",
        ),
    ),
    rest=lambda settings: AT_ODDS,
)
