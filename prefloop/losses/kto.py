"""KTO: learn from single answers, each desirable or undesirable, relative to the policy's KL from its reference.

Departures:
1. The reference point z is a mean over the whole step, across processes; TRL takes one for each process.
2. The mismatched answer that a prompt is paired with to estimate z is the same in every epoch
   (`prefloop.engine.examples.encode_answers`); the authors shift the answers of each batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AnswerBatch, Loss, LossRows, number, reference
from prefloop.losses.later import torch
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class KTOResult(NamedTuple):
    loss: Tensor  # (B,) not reduced
    reward: Tensor  # (B,) beta * log-ratio, detached
    margin: Tensor  # (B,) reward - beta * z where desirable, beta * z - reward where not; detached
    kl: Tensor  # scalar: z, nats


def kto_loss(
    log_ratio: Tensor,
    desirable: Tensor,
    mismatched: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> KTOResult:
    """Raise the log-ratio of desirable answers above z, and lower that of undesirable ones below it.

    Shapes: log_ratio (B,), log pi/pi_ref of whole answers, in nats; desirable (B,) bool; mismatched: a scalar, the mean
    log-ratio of prompts with answers to other prompts, through which no gradient flows.
    z = max(0, mismatched); loss = lambda_D (1 - sigma(beta (r - z))) where desirable, else
    lambda_U (1 - sigma(beta (z - r))).
    Source: Ethayarajh et al. 2024, arXiv:2402.01306, Eqs. 7, 8; beta .1; lambda_D n_D / (lambda_U n_U) in [1, 4/3].
    """
    same_rows(log_ratio, desirable)
    kl = mismatched.detach().clamp(min=0)
    side = torch.where(desirable, 1.0, -1.0).to(log_ratio.dtype)
    margin = side * beta * (log_ratio - kl)
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(log_ratio.dtype)
    return KTOResult(weight * torch.sigmoid(-margin), (beta * log_ratio).detach(), margin.detach(), kl)


def _rows(batch: AnswerBatch, *, beta: float, desirable_weight: float, undesirable_weight: float) -> LossRows:
    if batch.ref_logp_sum is None or batch.mismatched is None:
        raise ValueError("kto needs reference log-probs and the log-ratios of mismatched answers")
    result = kto_loss(
        batch.logp_sum - batch.ref_logp_sum,
        batch.desirable,
        batch.mismatched,
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )
    good, logps = batch.desirable, batch.logp_sum.detach()
    metrics = {
        "kto/kl": result.kl.expand(len(logps)),
        "logps/chosen": logps[good],
        "logps/rejected": logps[~good],
        "rewards/chosen": result.reward[good],
        "rewards/rejected": result.reward[~good],
        "rewards/accuracies": (result.margin > 0).to(logps.dtype),
        "rewards/margins": result.margin,
    }
    return LossRows(result.loss, metrics)


_SHARES = "Ethayarajh et al. 2024, arXiv:2402.01306: with the numbers of answers, λ_D n_D from 1 to 4/3 times λ_U n_U"

KTO = Loss(
    name="kto",
    source="Ethayarajh et al. 2024, arXiv:2402.01306",
    rows="answers",
    rows_of=_rows,
    needs=frozenset({"ref", "mismatched"}),
    hard_labels=True,
    numbers=(
        number(
            "beta",
            0.1,
            above=0.0,
            label="β, risk aversion",
            help="A larger β saturates sooner, so that the policy stays closer to the reference.",
            source="Ethayarajh et al. 2024, arXiv:2402.01306: .1",
        ),
        number(
            "desirable_weight",
            1.0,
            minimum=0.0,
            label="λ_D, weight of desirable answers",
            help="Weight of the answers that are desirable.",
            source=_SHARES,
        ),
        number(
            "undesirable_weight",
            1.0,
            minimum=0.0,
            label="λ_U, weight of undesirable answers",
            help="Weight of the answers that are undesirable.",
            source=_SHARES,
        ),
        reference(),
    ),
)
