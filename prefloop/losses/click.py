"""CLICK: a likelihood contrast on the policy's own answers, labelled good or bad by a classifier.

Departures: none in the contrast. The other term of the paper's objective, the token-mean likelihood of language-model
data, is `nll_loss` on that data; the loop adds `gamma` times the contrast to it (gamma .5 dialogue, .1 sentiment,
.3 repetition).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.declaration import HINGES, Loss, LossRows, PairBatch, number
from prefloop.losses.pairs import by_label, pair_metrics
from prefloop.losses.slic import HingeResult, slic_loss

if TYPE_CHECKING:
    from torch import Tensor


def click_loss(positive_logp_sum: Tensor, negative_logp_sum: Tensor, *, alpha: float) -> HingeResult:
    """Ask the positive answer to be alpha nats more likely, as a whole, than the negative one.

    Shapes: (B,), sums over completion tokens, in nats; no reference model.
    loss = max(0, alpha - logp(y+) + logp(y-)): SLiC's calibration with a margin of alpha nats of the whole sequence,
    so alpha grows with length. Source: Zheng et al. 2023, arXiv:2306.03350; alpha 20 (dialogue), 15 (GPT-2 tasks).
    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative, not {alpha}")
    return slic_loss(positive_logp_sum, negative_logp_sum, delta=alpha)


def _rows(batch: PairBatch, *, alpha: float, gamma: float) -> LossRows:
    """gamma times the contrast, and the likelihood of the target, which the data gives."""
    positive, negative = by_label(batch, "click", batch.first_logp_sum, batch.second_logp_sum)
    loss, _ = click_loss(positive, negative, alpha=alpha)
    target = None if batch.target_logp_sum is None else -batch.target_logp_sum
    return LossRows(gamma * loss, pair_metrics(batch), extra=target)


CLICK = Loss(
    name="click",
    source="Zheng et al. 2023, arXiv:2306.03350",
    rows_of=_rows,
    hard_labels=True,
    target=lambda settings: "data",
    numbers=(
        number(
            "alpha",
            20.0,
            minimum=0.0,
            label="α, the margin",
            help="Margin, in nats over the whole answer, by which the good answer should be more likely.",
            source="Zheng et al. 2023, arXiv:2306.03350: 20 dialogue, 15 GPT-2",
        ),
        number(
            "gamma",
            0.5,
            minimum=0.0,
            label="γ, weight of the contrast",
            help="Weight of the contrast, relative to the likelihood of the data.",
            source="Zheng et al. 2023, arXiv:2306.03350: .5 dialogue, .1 sentiment, .3 repetition",
        ),
    ),
    rest=lambda settings: HINGES,
)
