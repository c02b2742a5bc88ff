"""WPO: DPO in which a pair counts by how likely its answers are under today's policy, as if they were its own.

Departure: a soft label p mixes both directions; the paper has only hard labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.later import torch
from prefloop.losses.pairs import lengths, pair_metrics, references
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor


class WPOResult(NamedTuple):
    loss: Tensor  # (B,) nats, per pair, not reduced
    log_weight: Tensor  # (B,) of the pair, detached
    chosen_reward: Tensor  # (B,) beta * log-ratio, detached
    rejected_reward: Tensor  # (B,)


def log_weight(logp_sum: Tensor, collision_sum: Tensor, n_tokens: Tensor) -> Tensor:
    """Say how likely an answer is to the policy, per token, beside what the policy usually writes: (B,), detached.

    Shapes: all (B,). `collision_sum`: over the answer's tokens, the log of the chance that two draws of one agree,
    log sum_v pi(v)^2. The mean over tokens of log pi(y_t) - log sum_v pi(v)^2 is above 0 where tokens are likelier than
    those that the policy draws are on average, and far below for an answer that it would not write.
    Source: Zhou et al. 2024, arXiv:2406.11827, Eq. 2 (sampled alignment).
    """
    same_rows(logp_sum, collision_sum, n_tokens)
    return ((logp_sum - collision_sum) / n_tokens).detach()


def wpo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    chosen_log_weight: Tensor,
    rejected_log_weight: Tensor,
    *,
    beta: float,
    p_first: Tensor | float | None = None,
) -> WPOResult:
    """Weigh DPO's loss of each pair by the weights of both answers, which have no gradient.

    Shapes: all (B,); log-probs are sums in nats. loss = w(y_w) w(y_l) * DPO's, w = exp(log_weight).
    Source: Zhou et al. 2024, arXiv:2406.11827; without an upper bound on the weights, as TRL's DPOTrainer.
    """
    same_rows(chosen_logp_sum, chosen_log_weight, rejected_log_weight)
    plain = dpo_loss(
        chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum, beta=beta, p_first=p_first
    )
    weight = (chosen_log_weight + rejected_log_weight).detach()
    return WPOResult(torch.exp(weight) * plain.loss, weight, plain.chosen_reward, plain.rejected_reward)


def _rows(batch: PairBatch, *, beta: float) -> LossRows:
    if batch.first_collision_sum is None or batch.second_collision_sum is None:
        raise ValueError("wpo needs how sure the policy is of both answers' tokens")
    n_first, n_second = lengths(batch, "wpo")
    result = wpo_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        *references(batch, "wpo"),
        log_weight(batch.first_logp_sum, batch.first_collision_sum, n_first),
        log_weight(batch.second_logp_sum, batch.second_collision_sum, n_second),
        beta=beta,
        p_first=batch.p_first,
    )
    metrics = pair_metrics(batch, result.chosen_reward, result.rejected_reward)
    return LossRows(result.loss, metrics | {"wpo/log_weight": result.log_weight})


WPO = Loss(
    name="wpo",
    source="Zhou et al. 2024, arXiv:2406.11827",
    rows_of=_rows,
    needs=frozenset({"ref", "collision"}),
    in_steps=True,
    numbers=(
        number(
            "beta",
            0.1,
            above=0.0,
            label="β, the pull to the reference",
            help="Pull to the reference.",
            source="Zhou et al. 2024, arXiv:2406.11827: 0.01; Rafailov et al. 2023, arXiv:2305.18290: 0.1",
        ),
        reference(),
    ),
    rest=lambda settings: AT_ODDS,  # both directions of a pair have one weight, so DPO's policy solves each of them
)
