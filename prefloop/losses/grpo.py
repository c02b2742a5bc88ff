"""GRPO: PPO's clipped ratio with an advantage from the prompt's other answers, and the KL to the reference as a loss.

Departures:
1. The deviation is that of a sample of the group (n - 1), and 1e-4 is added to it, as in TRL.
2. An answer that reaches its longest length is learned from like any other.

The KL is the paper's. On the policy's own answers its gradient is that of KL(reference || policy); TRL's default weighs
it by the ratio (arXiv:2512.02556), whose gradient is that of KL(policy || reference).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, LossRows, SampleBatch, number, reference
from prefloop.losses.later import torch
from prefloop.losses.ppo import ppo_clip_loss
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor

_PAPER, _DR = "Shao et al. 2024, arXiv:2402.03300", "Liu et al. 2025 (Dr. GRPO), arXiv:2503.20783"
_EPSILON = 1e-4


class GRPOResult(NamedTuple):
    loss: Tensor  # (C,) of each answer, not reduced
    kl: Tensor  # (C, T) k3 of each token, detached, 0 outside the mask
    clipped: Tensor  # (C, T) bool: where clipping took the gradient away


def group_advantages(scores: Tensor, group: Tensor, *, by_deviation: bool = True) -> Tensor:
    """Give each answer's score (C,) less the mean of its prompt's answers, over their deviation where asked for.

    Answers of one prompt have one number in `group`, stand together, and are as many (2 or more) for each prompt.
    Source: Shao et al. 2024, arXiv:2402.03300, section 4.1.2; without the deviation Liu et al. 2025, arXiv:2503.20783.
    """
    same_rows(scores, group)
    table = scores.reshape(len(group.unique()), -1)
    centred = table - table.mean(dim=1, keepdim=True)
    if by_deviation:
        centred = centred / (table.std(dim=1, keepdim=True) + _EPSILON)
    return centred.reshape(-1).detach()


def grpo_loss(
    logp: Tensor,
    old_logp: Tensor,
    ref_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    beta: float,
    clip: float = 0.2,
    length: int | None = None,
) -> GRPOResult:
    """Add PPO's clipped term of each token and beta times the k3 of the KL; mean over an answer's own tokens.

    Shapes: logp, old_logp, ref_logp, mask (C, T), nats; advantages (C,), one for all tokens of an answer.
    k3 = exp(ref - logp) - (ref - logp) - 1 >= 0. With a `length` the sum over tokens is divided by it instead, the same
    for every answer: Dr. GRPO's normalisation, by which long wrong answers are not let off.
    Source: Shao et al. 2024, arXiv:2402.03300, Eqs. 3 and 4 (clip .2, beta .04); Liu et al. 2025, arXiv:2503.20783.
    """
    same_rows(advantages, mask[:, 0])
    ratio = ppo_clip_loss(logp, old_logp, advantages[:, None].expand_as(logp), mask, clip=clip)
    behind = torch.where(mask, ref_logp - logp, 0.0)
    k3 = behind.exp() - behind - 1
    n = mask.sum(dim=1) if length is None else length
    return GRPOResult((ratio.loss + beta * k3).sum(dim=1) / n, k3.detach(), ratio.clipped)


def _rows(batch: SampleBatch, *, beta: float, clip_range: float, normalisation: str) -> LossRows:
    if batch.ref_logp is None:
        raise ValueError("grpo needs reference log-probs")
    is_dr = normalisation == "dr-grpo"
    result = grpo_loss(
        batch.logp,
        batch.old_logp,
        batch.ref_logp,
        group_advantages(batch.scores, batch.group, by_deviation=not is_dr),
        batch.mask,
        beta=beta,
        clip=clip_range,
        length=batch.longest if is_dr else None,
    )
    table = batch.scores.reshape(len(batch.group.unique()), -1)
    metrics = {
        "grpo/equal_groups": (table.amax(1) == table.amin(1)).to(table.dtype),  # they teach nothing but the KL
        "grpo/dr_normalisation": torch.full_like(table[:, 0], float(is_dr)),
        "grpo/reward_std": table.std(dim=1),
        "kl/token": result.kl[batch.mask],
        "policy/clipfrac_avg": result.clipped[batch.mask].to(table.dtype),
    }
    return LossRows(result.loss, metrics)


GRPO = Loss(
    name="grpo",
    source=f"{_PAPER}; {_DR}",
    rows="samples",
    rows_of=_rows,
    needs=frozenset({"old", "ref", "scores"}),
    in_steps=True,
    at_temperature_1=True,
    compares_group=True,
    surrogate=True,
    numbers=(
        number(
            "beta",
            0.04,
            minimum=0.0,
            label="β, the pull to the reference",
            help="Weight of the KL to the reference, computed per token and added to the loss.",
            source=f"{_PAPER}: 0.04; TRL: 0",
        ),
        number(
            "normalisation",
            "grpo",
            choices=("grpo", "dr-grpo"),
            label="Normalisation",
            help="grpo: scores over their group's deviation, the mean over an answer's tokens; dr-grpo: no deviation, "
            "the sum over tokens divided by the longest answer's (draws.max_tokens).",
            source=f"{_PAPER}; {_DR}",
        ),
        number(
            "clip_range",
            0.2,
            above=0.0,
            below=1.0,
            folded=True,
            label="Clip of the ratio",
            help="How far the ratio of a token's new and old probability may move from 1.",
            source=f"{_PAPER}; TRL: 0.2",
            idle=lambda settings: "objective.passes is 1: new and old are one" if settings.passes == 1 else "",
        ),
        number(
            "passes",
            1,
            minimum=1,
            maximum=64,
            folded=True,
            label="Passes over a batch",
            help="Passes over one batch of answers.",
            source=f"{_PAPER}: 1; TRL: 1",
        ),
        reference(),
    ),
)
