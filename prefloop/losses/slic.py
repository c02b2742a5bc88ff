"""The hinge losses: SLiC-HF's without a reference, and RSO's normalised one with a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import HINGES, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.later import torch
from prefloop.losses.pairs import pair_metrics, references
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class HingeResult(NamedTuple):
    loss: Tensor  # (B,) not reduced
    margin: Tensor  # (B,) what the hinge is applied to, detached


def slic_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    target_logp_sum: Tensor | None = None,
    *,
    delta: float = 1.0,
    regularisation: float = 0.0,
    p_first: Tensor | float | None = None,
) -> HingeResult:
    """Ask the chosen answer to be delta nats more likely than the rejected one, and keep the target likely.

    Shapes: (B,), sums over completion tokens, not normalised by length; no reference model.
    loss = max(0, delta - logp(y+) + logp(y-)) - regularisation * logp(target).
    Source: Zhao et al. 2023, arXiv:2305.10425. (What OAIF and TRL call SLiC or hinge is `hinge_norm_loss`.)
    """
    same_rows(chosen_logp_sum, rejected_logp_sum)
    if (target_logp_sum is None) != (regularisation == 0):
        raise ValueError("the regulariser needs its target, and the target its weight")
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    margin = chosen_logp_sum - rejected_logp_sum
    loss = p * torch.relu(delta - margin) + (1 - p) * torch.relu(delta + margin)
    if target_logp_sum is not None:
        same_rows(target_logp_sum, loss)
        loss = loss - regularisation * target_logp_sum
    return HingeResult(loss, margin.detach())


def hinge_norm_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    gamma: float,
    p_first: Tensor | float | None = None,
) -> HingeResult:
    """Ask the difference of log-ratios h to be at least 1 / gamma: max(0, 1 - gamma h).

    Shapes: all four tensors (B,), sums over completion tokens, in nats.
    Source: Liu et al. 2023 (RSO), arXiv:2309.06657, hinge-norm. At policy == reference the loss is 1.
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    margin = gamma * ((chosen_logp_sum - ref_chosen_logp_sum) - (rejected_logp_sum - ref_rejected_logp_sum))
    return HingeResult(p * torch.relu(1 - margin) + (1 - p) * torch.relu(1 + margin), margin.detach())


def _slic_rows(batch: PairBatch, *, delta: float, lambda_: float) -> LossRows:
    loss, _ = slic_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        batch.target_logp_sum if lambda_ else None,
        delta=delta,
        regularisation=lambda_,
        p_first=batch.p_first,
    )
    return LossRows(loss, pair_metrics(batch))


SLIC = Loss(
    name="slic",
    source="Zhao et al. 2023, arXiv:2305.10425",
    rows_of=_slic_rows,
    target=lambda settings: "best" if settings.lambda_ > 0 else "",
    numbers=(
        number(
            "delta",
            1.0,
            minimum=0.0,
            label="δ, the margin",
            help="Margin, in nats over the whole answer, by which the better answer should be more likely.",
            source="Zhao et al. 2023 (SLiC-HF), arXiv:2305.10425: the only value reported",
        ),
        number(
            "lambda_",
            0.1,
            minimum=0.0,
            label="λ, weight of the best answer's likelihood",
            help="Weight of the log-likelihood of the best candidate, in nats over the whole answer, which "
            "keeps it likely.",
            source="this project's; Zhao et al. 2023, arXiv:2305.10425 does not report it",
        ),
    ),
    rest=lambda settings: HINGES,
)


def _hinge_norm_rows(batch: PairBatch, *, gamma: float) -> LossRows:
    ref_first, ref_second = references(batch, "hinge-norm")
    first, second = batch.first_logp_sum, batch.second_logp_sum
    loss, _ = hinge_norm_loss(first, second, ref_first, ref_second, gamma=gamma, p_first=batch.p_first)
    return LossRows(loss, pair_metrics(batch, gamma * (first - ref_first), gamma * (second - ref_second)))


HINGE_NORM = Loss(
    name="hinge-norm",
    source="Liu et al. 2023, arXiv:2309.06657",
    rows_of=_hinge_norm_rows,
    needs=frozenset({"ref"}),
    in_steps=True,
    numbers=(
        number(
            "gamma",
            0.05,
            above=0.0,
            label="γ, the scale",
            help="Scale of the difference of log-ratios: the hinge opens below h = 1 / γ.",
            source="Liu et al. 2023 (RSO), arXiv:2309.06657: 0.05; OAIF 0.002",
        ),
        reference(),
    ),
    rest=lambda settings: HINGES,
)
