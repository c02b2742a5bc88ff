"""SimPO: the mean log-probability per token is the reward, and the better answer should exceed the other's by a margin.

Departure: a soft label p mixes both directions, each with its margin; the paper has only hard labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number
from prefloop.losses.later import torch
from prefloop.losses.pairs import lengths, pair_metrics
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class SimPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, not reduced
    chosen_reward: Tensor  # (B,) beta * mean log-prob per token, detached
    rejected_reward: Tensor  # (B,)


def simpo_loss(
    chosen_logp_mean: Tensor,
    rejected_logp_mean: Tensor,
    *,
    beta: float,
    gamma: float,
    p_first: Tensor | float | None = None,
) -> SimPOResult:
    """Score each pair by how far the better answer's reward is from leading by gamma.

    Shapes: both (B,), means over each answer's own tokens with EOS, in nats a token; no reference model.
    loss = -log sigma(beta * (mean logp(y_w) - mean logp(y_l)) - gamma).
    Source: Meng et al. 2024, arXiv:2405.14734, Eq. 6; beta 2 to 2.5, gamma / beta .3 to 1.6.
    """
    same_rows(chosen_logp_mean, rejected_logp_mean)
    p = soft_label(p_first, 0.0, like=chosen_logp_mean)
    h = beta * (chosen_logp_mean - rejected_logp_mean)
    better, worse = torch.nn.functional.logsigmoid(h - gamma), torch.nn.functional.logsigmoid(-h - gamma)
    loss = -p * better - (1 - p) * worse
    return SimPOResult(loss, (beta * chosen_logp_mean).detach(), (beta * rejected_logp_mean).detach())


def _rows(batch: PairBatch, *, beta: float, gamma: float) -> LossRows:
    n_first, n_second = lengths(batch, "simpo")
    first, second = batch.first_logp_sum / n_first, batch.second_logp_sum / n_second
    result = simpo_loss(first, second, beta=beta, gamma=gamma, p_first=batch.p_first)
    return LossRows(result.loss, pair_metrics(batch, result.chosen_reward, result.rejected_reward))


SIMPO = Loss(
    name="simpo",
    source="Meng et al. 2024, arXiv:2405.14734",
    rows_of=_rows,
    in_steps=True,
    numbers=(
        number(
            "beta",
            2.0,
            above=0.0,
            label="β, scale of the reward",
            help="Scale of the mean log-probability per token, which is the reward. There is no reference.",
            source="Meng et al. 2024, arXiv:2405.14734: 2 to 2.5",
        ),
        number(
            "gamma",
            1.0,
            minimum=0.0,
            label="γ, the margin",
            help="By how much the better answer's reward should be larger.",
            source="Meng et al. 2024, arXiv:2405.14734: .3 to 1.6 times β",
        ),
    ),
    rest=lambda settings: AT_ODDS,
)
