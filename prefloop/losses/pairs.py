"""Helpers shared by the losses on pairs: the label's order, the references, and the metrics, under TRL's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.declaration import PairBatch
from prefloop.losses.later import torch

if TYPE_CHECKING:
    from torch import Tensor


def references(batch: PairBatch, name: str) -> tuple[Tensor, Tensor]:
    """Return the reference log-probs of both answers. Raises ValueError if there are none."""
    if batch.ref_first_logp_sum is None or batch.ref_second_logp_sum is None:
        raise ValueError(f"{name} needs reference log-probs")
    return batch.ref_first_logp_sum, batch.ref_second_logp_sum


def lengths(batch: PairBatch, name: str) -> tuple[Tensor, Tensor]:
    """Return both answers' lengths in tokens. Raises ValueError if they are not known."""
    if batch.first_length is None or batch.second_length is None:
        raise ValueError(f"{name} needs the answers' lengths in tokens")
    return batch.first_length, batch.second_length


def by_label(batch: PairBatch, name: str, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Put the better answer's value first. Raises ValueError if a label is not hard."""
    if not bool(((batch.p_first == 0) | (batch.p_first == 1)).all()):
        raise ValueError(f"{name} takes hard labels only")
    return _ordered(batch.p_first > 0.5, first, second)


def pair_metrics(
    batch: PairBatch, first: Tensor | None = None, second: Tensor | None = None, *, logps: bool = True
) -> dict[str, Tensor]:
    """Make the metrics of pairs; chosen is the answer that the label prefers, so a label of ½ is left out.

    `first` and `second` are the loss's own implicit rewards (B,). A loss without a reference has none: its margins are
    of log-probs, in nats. `logps=False` where the batch holds rewards and no log-probs.
    """
    decided = batch.p_first != 0.5
    better = (batch.p_first > 0.5)[decided]
    found: dict[str, Tensor] = {}
    chosen, rejected = _ordered(better, batch.first_logp_sum.detach()[decided], batch.second_logp_sum.detach()[decided])
    if logps:
        found |= {"logps/chosen": chosen, "logps/rejected": rejected}
    if first is not None and second is not None:
        chosen, rejected = _ordered(better, first.detach()[decided], second.detach()[decided])
        found |= {"rewards/chosen": chosen, "rewards/rejected": rejected}
    return found | {
        "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
        "rewards/margins": chosen - rejected,
    }


def _ordered(first_better: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(first_better, first, second), torch.where(first_better, second, first)
