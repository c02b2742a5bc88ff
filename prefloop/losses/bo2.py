"""Bo2: imitate the winner of two.

Departure: the gap study's Eq. 3 prints a minimum of E[log pi(y_w)]; it is maximised. There is no KL term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, LossRows, PairBatch
from prefloop.losses.pairs import pair_metrics
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class Bo2Result(NamedTuple):
    loss: Tensor  # (B,) nats, minus the winner's log-likelihood, not reduced


def bo2_loss(chosen_logp_sum: Tensor, rejected_logp_sum: Tensor, *, p_first: Tensor | float | None = None) -> Bo2Result:
    """Score each pair by minus the log-likelihood of its winner; a soft label mixes both answers.

    Shapes: (B,), sums over completion tokens, in nats; no reference model, so only early stopping holds the policy.
    Source: Tang et al. 2024, arXiv:2405.08448v1, Eq. 3 (sign corrected).
    """
    same_rows(chosen_logp_sum, rejected_logp_sum)
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    return Bo2Result(-p * chosen_logp_sum - (1 - p) * rejected_logp_sum)


def _rows(batch: PairBatch) -> LossRows:
    loss = bo2_loss(batch.first_logp_sum, batch.second_logp_sum, p_first=batch.p_first).loss
    return LossRows(loss, pair_metrics(batch))


BO2 = Loss(
    name="bo2",
    source="Tang et al. 2024, arXiv:2405.08448v1, Eq. 3",
    rows_of=_rows,
    in_steps=True,
    drifts="nothing holds the policy: each step imitates the better of its own two answers",
)
