"""GKD: the generalised Jensen-Shannon divergence between teacher and student, token by token.

Departures: none. It is not continuous at the ends: D -> 0 as beta -> 0 while D / beta -> KL(teacher || student), so
beta = 0 and beta = 1 are the two KLs themselves, as in the reference code, and the learning rate must be retuned
when beta leaves an end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import CompletionBatch, Loss, LossRows, number, reference
from prefloop.losses.later import torch

if TYPE_CHECKING:
    from torch import Tensor


class GKDResult(NamedTuple):
    loss: Tensor  # (T,) nats, one value a position, not reduced: mask and mean belong to the loop


def generalised_jsd_loss(
    teacher_logits: Tensor, student_logits: Tensor, *, beta: float = 0.5, temperature: float = 1.0
) -> GKDResult:
    """Measure beta KL(T || M) + (1 - beta) KL(S || M), M = beta T + (1 - beta) S, at each position.

    Shapes: both (T, V) over one vocabulary, completion positions only. No gradient reaches the teacher, nor flows
    through sampling. beta = 0: KL(T || S), forward; beta = 1: KL(S || T), reverse.
    Source: Agarwal et al. 2023, arXiv:2306.13649, the generalised JSD; defaults of TRL's trainer: beta .5.
    """
    if teacher_logits.ndim != 2 or teacher_logits.shape != student_logits.shape:
        raise ValueError(f"both must be (T, V), not {tuple(teacher_logits.shape)}, {tuple(student_logits.shape)}")
    if not 0 <= beta <= 1 or temperature <= 0:
        raise ValueError("beta must be in [0, 1] and temperature positive")
    log_t = (teacher_logits.detach() / temperature).log_softmax(dim=1)
    log_s = (student_logits / temperature).log_softmax(dim=1)
    if beta == 0:
        return GKDResult(_kl(log_t, log_s))
    if beta == 1:
        return GKDResult(_kl(log_s, log_t))
    log_m = torch.logaddexp(log_t + math.log(beta), log_s + math.log1p(-beta))
    return GKDResult(beta * _kl(log_t, log_m) + (1 - beta) * _kl(log_s, log_m))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over the last axis. (torch's kl_div takes them the other way round.)"""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _rows(batch: CompletionBatch) -> LossRows:
    """The divergence of each completion's tokens from the teacher's; beta is used where their sums are made."""
    if batch.divergence_sum is None:
        raise ValueError("gkd needs the divergence from a teacher")
    return LossRows(batch.divergence_sum, {"divergence/token": (batch.divergence_sum / batch.n_tokens).detach()})


GKD = Loss(
    name="gkd",
    source="Agarwal et al. 2023, arXiv:2306.13649",
    rows="demonstrations",
    rows_of=_rows,
    needs=frozenset({"teacher"}),
    in_steps=True,
    numbers=(
        number(
            "beta",
            0.5,
            minimum=0.0,
            maximum=1.0,
            label="β, between the two KLs",
            help="Interpolates between two KLs: 0 is KL(teacher || student), 1 is KL(student || teacher), ½ is the "
            "Jensen-Shannon divergence. Tune the learning rate again for values between.",
            source="TRL's GKD trainer; Agarwal et al. 2023, arXiv:2306.13649",
        ),
        number(
            "lambda_",
            0.5,
            minimum=0.0,
            maximum=1.0,
            label="λ, share of the student's own answers",
            help="Share of rows that the student answers itself; the others have the data's answers.",
            source="Agarwal et al. 2023, arXiv:2306.13649",
        ),
        reference(
            label="Teacher",
            help="The teacher, with the same vocabulary: the name of a checkpoint, or latest for the newest policy "
            "made by a loop of the project.",
            choices=("latest", "initial"),
            source="this project's",
        ),
    ),
    expectation="prefloop.tabular.methods:distillation",
)
