"""RSO's losses: sigmoid-norm and hinge-norm, whose gamma is free of the sampler's beta.

Departures: none. The sampler is `prefloop.recipes.filters.rejection_sample`; the hinge is `slic.hinge_norm_loss`,
given here again because the paper names both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.declaration import AT_ODDS, HINGES, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.dpo import DPOResult, dpo_loss
from prefloop.losses.pairs import pair_metrics, references
from prefloop.losses.slic import hinge_norm_loss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RSO", "hinge_norm_loss", "sigmoid_norm_loss"]

_PAPER = "Liu et al. 2023 (RSO), arXiv:2309.06657"


def sigmoid_norm_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    gamma: float = 0.05,
    p_first: Tensor | float | None = None,
) -> DPOResult:
    """Score each pair by -log sigma(gamma h): DPO's loss, gamma decoupled from the beta of the target law.

    Shapes: all four tensors (B,), sums over completion tokens, in nats.
    Source: Liu et al. 2023, arXiv:2309.06657, sigmoid-norm; gamma .05 best of {.005, .05, .5}.
    (TRL's `sigmoid_norm` is something else: it averages log-ratios over tokens.)
    """
    return dpo_loss(
        chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum, beta=gamma, p_first=p_first
    )


def _rows(batch: PairBatch, *, gamma: float, form: str) -> LossRows:
    ref_first, ref_second = references(batch, "rso")
    first, second = batch.first_logp_sum, batch.second_logp_sum
    compute = hinge_norm_loss if form == "hinge-norm" else sigmoid_norm_loss
    loss = compute(first, second, ref_first, ref_second, gamma=gamma, p_first=batch.p_first).loss
    return LossRows(loss, pair_metrics(batch, gamma * (first - ref_first), gamma * (second - ref_second)))


RSO = Loss(
    name="rso",
    source=_PAPER,
    rows_of=_rows,
    needs=frozenset({"ref"}),
    in_steps=True,
    numbers=(
        number(
            "gamma",
            0.05,
            above=0.0,
            label="γ, the scale",
            help="Scale of the difference of log-ratios.",
            source=f"{_PAPER}: best of .005, .05, .5",
        ),
        number(
            "form",
            "sigmoid-norm",
            choices=("sigmoid-norm", "hinge-norm"),
            folded=True,
            label="Form of the loss",
            help="Which of the paper's two losses: -log σ(γh), or max(0, 1 - γh).",
            source=_PAPER,
        ),
        reference(),
    ),
    rest=lambda settings: HINGES if settings.form == "hinge-norm" else AT_ODDS,
)
