"""Direct preference optimisation (and cDPO, and soft labels)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, AT_SET_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.later import torch
from prefloop.losses.pairs import pair_metrics, references
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class DPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, per pair, not reduced
    chosen_reward: Tensor  # (B,) beta * log-ratio, detached
    rejected_reward: Tensor  # (B,)


def dpo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    beta: float,
    flip_probability: float = 0.0,
    p_first: Tensor | float | None = None,
) -> DPOResult:
    """Score each pair by how much more than the reference the policy prefers the chosen answer.

    Shapes: all four tensors (B,), summed over completion tokens, in nats; p_first (B,) or a number.
    Source: Rafailov et al. 2023, arXiv:2305.18290, the DPO loss; flip_probability: Mitchell 2023 (cDPO).
    p_first is the probability that the answer in the chosen place is better, where labels are soft:
    loss = p L(h) + (1 - p) L(-h), so flip_probability = e is p_first = 1 - e.
    At policy == reference the loss is log 2 for every pair, whatever beta and p_first are.
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    p = soft_label(p_first, flip_probability, like=chosen_logp_sum)
    chosen_ratio = chosen_logp_sum - ref_chosen_logp_sum  # rho(y_w)
    rejected_ratio = rejected_logp_sum - ref_rejected_logp_sum  # rho(y_l)
    h = beta * (chosen_ratio - rejected_ratio)
    loss = -p * torch.nn.functional.logsigmoid(h) - (1 - p) * torch.nn.functional.logsigmoid(-h)
    return DPOResult(loss, (beta * chosen_ratio).detach(), (beta * rejected_ratio).detach())


def _rows(batch: PairBatch, *, beta: float, label_smoothing: float) -> LossRows:
    ref_first, ref_second = references(batch, "dpo")
    # Smoothing pulls a label towards 1/2 by the chance e that it is wrong: p(1 - e) + (1 - p)e.
    p = batch.p_first * (1 - label_smoothing) + (1 - batch.p_first) * label_smoothing
    result = dpo_loss(batch.first_logp_sum, batch.second_logp_sum, ref_first, ref_second, beta=beta, p_first=p)
    return LossRows(result.loss, pair_metrics(batch, result.chosen_reward, result.rejected_reward))


DPO = Loss(
    name="dpo",
    source="Rafailov et al. 2023, arXiv:2305.18290",
    rows_of=_rows,
    needs=frozenset({"ref"}),
    in_steps=True,
    numbers=(
        number(
            "beta",
            0.1,
            above=0.0,
            label="β, the pull to the reference",
            help="Pull to the reference.",
            source="Rafailov et al. 2023, arXiv:2305.18290 (0.1; 0.5 for TL;DR)",
        ),
        number(
            "label_smoothing",
            0.0,
            minimum=0.0,
            below=0.5,
            folded=True,
            label="Label smoothing",
            help="Probability that a label is wrong (conservative DPO); 0 is plain DPO.",
            source="Mitchell 2023, cDPO note, Eq. 3",
        ),
        reference(),
    ),
    # where every label may be wrong, no answer beats another for certain
    rest=lambda settings: AT_SET_ODDS if settings.label_smoothing > 0 else AT_ODDS,
)
