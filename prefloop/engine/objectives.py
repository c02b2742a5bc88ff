"""A step's loss: packed forward passes whose gradients add up to that of the exact mean over the whole batch.

The mean is over the batch's weights: sum(weight · loss) / sum(weight · denominator), where a pair's denominator is 1
and a demonstration's its tokens. What a micro-batch is divided by is known before the first forward pass, so that
neither the token budget nor the order of packing changes the result but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from prefloop.engine.examples import Example
from prefloop.losses.registry import CompletionBatch, PairBatch, objective
from prefloop.policy.batches import PackedBatch, pack_groups
from prefloop.policy.scoring import forward_logps, forward_rewards, supports_block_mask
from prefloop.recipes.recipe import Objective


@dataclass(slots=True)
class _Sums:
    """Sums of a batch; a metric's mean is over the rows that it means something for."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        if values.numel():
            self.totals[name] = self.totals.get(name, 0.0) + float(values.double().sum())
            self.counts[name] = self.counts.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        return {name: total / self.counts[name] for name, total in self.totals.items()}


@dataclass(frozen=True, slots=True)
class StepLoss:
    """The weighted mean loss of a batch and TRL's metrics of it."""

    loss: float
    metrics: dict[str, float]


def backward_batch(
    model: Any,
    kind: str,
    batch: Sequence[Example],
    settings: Objective,
    *,
    token_budget: int,
    references: dict[str, tuple[float, float]],
) -> StepLoss:
    """Add the gradient of the batch's mean loss to the model's, pass by pass; return the loss and its metrics.

    `references` holds the reference log-prob sums (first, second) by row id; a row without them raises KeyError.
    """
    loss = objective(settings.registry_name)
    numbers = _numbers(settings)
    device = next(model.parameters()).device
    shared = kind != "sft" and supports_block_mask(model)
    total = sum(row.weight * (row.n_tokens if kind == "sft" else 1) for row in batch)
    packs = pack_groups([row.item for row in batch], token_budget=token_budget, shared=shared, device=device)
    sums, loss_sum = _Sums(), 0.0
    for packed in packs:
        rows = [batch[item] for item in dict.fromkeys(item for item, _ in packed.slots)]
        weights = torch.tensor([row.weight for row in rows], device=device)
        if kind == "sft":
            logps = forward_logps(model, packed, with_grad=True)
            terms = loss.loss(CompletionBatch(logps, packed.lengths()))
            sums.add("logps/chosen", logps.detach())
        else:
            pairs = _pair_batch(model, kind, packed, rows, references)
            terms = loss.loss(pairs, **numbers)
            _pair_metrics(sums, kind, pairs, settings)
        part = (weights * terms.loss).sum() / total
        part.backward()
        loss_sum += float(part.detach())
    return StepLoss(loss_sum, sums.means())


def _numbers(settings: Objective) -> dict[str, float]:
    if settings.loss == "dpo":
        return {"beta": settings.beta, "label_smoothing": settings.label_smoothing}
    return {"center_coef": settings.center} if settings.loss == "bradley-terry" else {}


def _pair_batch(
    model: Any, kind: str, packed: PackedBatch, rows: Sequence[Example], references: dict[str, tuple[float, float]]
) -> PairBatch:
    forward = forward_rewards if kind == "reward-model" else forward_logps
    values = forward(model, packed, with_grad=True)
    firsts = torch.tensor([at for at, (_, which) in enumerate(packed.slots) if which == 0], device=values.device)
    seconds = torch.tensor([at for at, (_, which) in enumerate(packed.slots) if which == 1], device=values.device)

    def column(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=values.dtype, device=values.device)

    needs_reference = kind == "dpo"
    return PairBatch(
        first_logp_sum=values[firsts],
        second_logp_sum=values[seconds],
        p_first=column([row.p_first for row in rows]),
        ref_first_logp_sum=column([references[row.id][0] for row in rows]) if needs_reference else None,
        ref_second_logp_sum=column([references[row.id][1] for row in rows]) if needs_reference else None,
    )


def _pair_metrics(sums: _Sums, kind: str, pairs: PairBatch, settings: Objective) -> None:
    """Add TRL's metrics; chosen is what the label prefers, so a label of ½ has none and is left out."""
    decided = pairs.p_first != 0.5
    first_better = (pairs.p_first > 0.5)[decided]
    first, second = pairs.first_logp_sum.detach(), pairs.second_logp_sum.detach()
    chosen = torch.where(first_better, first[decided], second[decided])
    rejected = torch.where(first_better, second[decided], first[decided])
    if kind == "dpo" and pairs.ref_first_logp_sum is not None and pairs.ref_second_logp_sum is not None:
        sums.add("logps/chosen", chosen)
        sums.add("logps/rejected", rejected)
        ref_first, ref_second = pairs.ref_first_logp_sum[decided], pairs.ref_second_logp_sum[decided]
        chosen = settings.beta * (chosen - torch.where(first_better, ref_first, ref_second))
        rejected = settings.beta * (rejected - torch.where(first_better, ref_second, ref_first))
    sums.add("rewards/chosen", chosen)
    sums.add("rewards/rejected", rejected)
    sums.add("rewards/accuracies", (chosen > rejected).float())
    sums.add("rewards/margins", chosen - rejected)
