"""R-DPO: DPO towards the policy that is best when every token costs something, so that length is not learnt as quality.

Departures:
1. The sign follows from the paper's objective and not from a printed formula: see `r_dpo_loss`.
2. A soft label p mixes both directions; the paper has only hard labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.dpo import DPOResult, dpo_loss
from prefloop.losses.pairs import lengths, pair_metrics, references
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


def r_dpo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    chosen_length: Tensor,
    rejected_length: Tensor,
    *,
    beta: float,
    alpha: float,
    p_first: Tensor | float | None = None,
) -> DPOResult:
    """Score each pair as DPO does, with a longer better answer counted as won already by alpha for each token more.

    Shapes: all (B,); log-probs are sums in nats, lengths are tokens with EOS. The rewards that it gives are the quality
    that the policy implies, beta * rho(y) + alpha * |y|.
    loss = -log sigma(beta * (rho(y_w) - rho(y_l)) + alpha * (|y_w| - |y_l|)), rho the log-ratio to the reference.
    Source: Park et al. 2024, arXiv:2403.19159: the reward is r(y) - alpha * |y|. Its optimum is
    pi(y) = ref(y) exp((r(y) - alpha |y|) / beta) / Z, so r(y) = beta * rho(y) + alpha * |y| + const, which Bradley and
    Terry's model takes. With a minus the optimum would prefer long answers. At alpha = 0 this is DPO.
    """
    same_rows(chosen_logp_sum, chosen_length, rejected_length)
    price = alpha / beta  # in nats: DPO of answers whose log-probs are raised by it for each token
    return dpo_loss(
        chosen_logp_sum + price * chosen_length,
        rejected_logp_sum + price * rejected_length,
        ref_chosen_logp_sum,
        ref_rejected_logp_sum,
        beta=beta,
        p_first=p_first,
    )


def _rows(batch: PairBatch, *, beta: float, alpha: float) -> LossRows:
    result = r_dpo_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        *references(batch, "r-dpo"),
        *lengths(batch, "r-dpo"),
        beta=beta,
        alpha=alpha,
        p_first=batch.p_first,
    )
    return LossRows(result.loss, pair_metrics(batch, result.chosen_reward, result.rejected_reward))


R_DPO = Loss(
    name="r-dpo",
    source="Park et al. 2024, arXiv:2403.19159",
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
            source="Rafailov et al. 2023, arXiv:2305.18290: 0.1",
        ),
        number(
            "alpha",
            0.01,
            minimum=0.0,
            label="α, the price of a token",
            help="The price of each token of an answer, on the scale of the reward; 0 is DPO.",
            source="chosen here",
        ),
        reference(),
    ),
    rest=lambda settings: AT_ODDS,
)
