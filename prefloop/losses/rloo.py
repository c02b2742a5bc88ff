"""RLOO: REINFORCE on whole answers, each measured by the mean return of the prompt's other answers.

Departures: none. The update is a single one on fresh answers, so that there is no ratio to clip; TRL's trainer has the
ratio, whose gradient is the same there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, LossRows, SampleBatch, number, reference
from prefloop.losses.ppo import rloo_advantages
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class RLOOResult(NamedTuple):
    loss: Tensor  # (C,) surrogate: its gradient is the estimate, its value means nothing
    returns: Tensor  # (C,) score - beta * log-ratio, detached
    advantages: Tensor  # (C,) detached


def rloo_loss(
    logp_sum: Tensor, old_logp_sum: Tensor, ref_logp_sum: Tensor, scores: Tensor, group: Tensor, *, beta: float
) -> RLOOResult:
    """Weigh each answer's log-probability by how much its return exceeds that of the prompt's other answers.

    Shapes: (C,), sums over completion tokens, in nats; answers of one prompt have one number in `group` and stand
    together, as many for each prompt.
    loss = -log pi(y) sg[R - mean of the others' R], R = r - beta * log(pi_old / pi_ref).
    Source: Ahmadian et al. 2024, arXiv:2402.14740, RLOO; beta .05 (TRL).
    """
    same_rows(logp_sum, old_logp_sum, ref_logp_sum, scores, group)
    returns = (scores - beta * (old_logp_sum - ref_logp_sum)).detach()
    advantages = rloo_advantages(returns.reshape(len(group.unique()), -1)).reshape(-1)
    return RLOOResult(-logp_sum * advantages, returns, advantages)


def _rows(batch: SampleBatch, *, beta: float) -> LossRows:
    if batch.ref_logp is None:
        raise ValueError("rloo needs reference log-probs")
    logp, old, ref = batch.logp.sum(1), batch.old_logp.sum(1), batch.ref_logp.sum(1)
    result = rloo_loss(logp, old, ref, batch.scores, batch.group, beta=beta)
    return LossRows(result.loss, {"objective/rlhf_reward": result.returns, "rloo/advantage": result.advantages.abs()})


RLOO = Loss(
    name="rloo",
    source="Ahmadian et al. 2024, arXiv:2402.14740",
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
            0.05,
            minimum=0.0,
            label="β, the pull to the reference",
            help="Weight of the KL to the reference, over the whole answer, subtracted from the reward.",
            source="TRL's RLOO trainer: 0.05",
        ),
        reference(),
    ),
)
