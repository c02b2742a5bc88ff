"""A step's loss: packed forward passes whose gradients add up to that of the exact mean over the whole batch.

The mean is over the batch's weights: sum(weight · loss) / sum(weight · denominator), where the denominator of a pair or
a group is 1 and a demonstration's its tokens; a second term (the data that CLICK keeps likely) has a denominator of its
own. What a micro-batch is divided by is known before the first forward pass, so that neither the token budget nor the
order of packing changes the result but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from prefloop.engine.examples import Example
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.tokens import forward_cringe, forward_divergence
from prefloop.losses.registry import CompletionBatch, GroupBatch, LossRows, PairBatch, objective
from prefloop.policy.batches import PackedBatch, pack_groups
from prefloop.policy.scoring import forward_logps, forward_rewards, unshared_because
from prefloop.recipes.recipe import Objective

# The registry's numbers that go by another name among the settings.
_SETTING_OF = {"center_coef": "center", "regularisation": "lambda_"}
# What a difference of log-ratios is multiplied with to be an implicit reward.
_REWARD_SCALE = {"dpo": "beta", "ipo": "tau", "rso": "gamma", "hinge-norm": "gamma", "spin": "lambda_"}


@dataclass(slots=True)
class Sums:
    """Sums of a batch; a metric's mean is over the rows that it means something for."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        if values.numel():
            self.totals[name] = self.totals.get(name, 0.0) + float(values.double().sum())
            self.counts[name] = self.counts.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        return {name: total / self.counts[name] for name, total in self.totals.items()}


def merged(parts: Sequence[Sums]) -> Sums:
    """Add up the sums of several processes."""
    if len(parts) == 1:
        return parts[0]
    whole = Sums()
    for part in parts:
        for name, total in part.totals.items():
            whole.totals[name] = whole.totals.get(name, 0.0) + total
            whole.counts[name] = whole.counts.get(name, 0) + part.counts[name]
    return whole


@dataclass(frozen=True, slots=True)
class StepLoss:
    """The weighted mean loss of a batch and TRL's metrics of it."""

    loss: float
    metrics: dict[str, float]


def needs_target(settings: Objective) -> bool:
    """Whether the loss keeps an answer likely beside the pair."""
    return settings.loss == "click" or (settings.loss == "slic" and settings.lambda_ > 0)


def loss_numbers(settings: Objective) -> dict[str, float]:
    """The settings under the names that the registry's loss knows them by."""
    names = {name: _SETTING_OF.get(name, name) for name in objective(settings.registry_name).defaults}
    return {name: getattr(settings, key) for name, key in names.items() if hasattr(settings, key)}


def backward_batch(
    model: Any,
    kind: str,
    batch: Sequence[Example],
    settings: Objective,
    *,
    token_budget: int,
    references: dict[str, tuple[float, float]],
    teacher: Any = None,
    ranks: Ranks = ALONE,
) -> StepLoss:
    """Add the gradient of the batch's mean loss to the model's, pass by pass; return the loss and its metrics.

    `references` holds the reference log-prob sums (first, second) by row id; a row without them raises KeyError.
    `teacher` is the model that GKD learns from. Of several processes each takes its share of the rows: the gradient is
    to be summed over them, the loss and the metrics are already.
    """
    del kind  # the loss says it
    loss = objective(settings.registry_name)
    numbers = loss_numbers(settings)
    device = next(model.parameters()).device
    imitates = settings.rows == "demonstrations"
    longest = max(len(row.item.prompt_ids) + max(map(len, row.item.completions)) for row in batch)
    shared = not imitates and not unshared_because(model, longest)
    total = sum(row.weight * (row.n_tokens if imitates else 1) for row in batch)
    extra_total = sum(row.weight * len(row.item.completions[row.target]) for row in batch if row.target is not None)
    mine = ranks.share(batch)
    packs = pack_groups([row.item for row in mine], token_budget=token_budget, shared=shared, device=device)
    sums, loss_sum = Sums(), 0.0
    for packed in packs:
        rows = [mine[item] for item in dict.fromkeys(item for item, _ in packed.slots)]
        weights = torch.tensor([row.weight for row in rows], device=device)
        if settings.rows == "groups":
            terms = _group_terms(model, packed, rows, loss.loss, numbers, sums)
        elif imitates:
            terms = loss.loss(_completion_batch(model, packed, settings, teacher, sums), **numbers)
        else:
            pairs = _pair_batch(model, packed, rows, settings, references)
            terms = loss.loss(pairs, **numbers)
            pair_metrics(sums, pairs, settings)
            if "gate" in terms.metrics:
                sums.add("cringe/gate", terms.metrics["gate"])
        part = (weights * terms.loss).sum() / total
        if terms.extra is not None:
            part = part + (weights * terms.extra).sum() / extra_total
        part.backward()
        loss_sum += float(part.detach())
    parts = ranks.gather((loss_sum, sums))
    return StepLoss(sum(part for part, _ in parts), merged([part for _, part in parts]).means())


def _completion_batch(
    model: Any, packed: PackedBatch, settings: Objective, teacher: Any, sums: Sums
) -> CompletionBatch:
    lengths = packed.lengths()
    if settings.loss == "gkd":
        divergence = forward_divergence(model, teacher, packed, beta=settings.beta)
        sums.add("divergence/token", (divergence / lengths).detach())
        return CompletionBatch(divergence, lengths, divergence)
    logps = forward_logps(model, packed, with_grad=True)
    sums.add("logps/chosen", logps.detach())
    return CompletionBatch(logps, lengths)


def _group_terms(
    model: Any,
    packed: PackedBatch,
    rows: Sequence[Example],
    loss: Callable[..., LossRows],
    numbers: dict[str, float],
    sums: Sums,
) -> LossRows:
    """One row of terms a group; groups may be of different sizes."""
    logps, lengths = forward_logps(model, packed, with_grad=True), packed.lengths()
    places: dict[int, list[int]] = {}
    for at, (item, _) in enumerate(packed.slots):
        places.setdefault(item, []).append(at)
    parts = []
    for row, own in zip(rows, places.values(), strict=True):
        scores = torch.tensor([row.scores], dtype=logps.dtype, device=logps.device)
        terms = loss(GroupBatch(logps[own][None], lengths[own][None], scores), **numbers)
        parts.append(terms.loss)
        per_token = logps.detach()[own] / lengths[own]
        best, worst = row.scores.index(max(row.scores)), row.scores.index(min(row.scores))
        sums.add("logps/chosen", logps.detach()[own][best, None])
        sums.add("logps/rejected", logps.detach()[own][worst, None])
        if row.scores[best] > row.scores[worst]:  # RRHF's likelihood is per token
            sums.add("rewards/accuracies", (per_token[best] > per_token[worst]).float()[None])
            sums.add("rewards/margins", (per_token[best] - per_token[worst])[None])
        for name in terms.metrics:
            sums.add(f"rrhf/{name}", terms.metrics[name])
    total = torch.cat(parts)
    return LossRows(total, torch.ones_like(total))


def _pair_batch(
    model: Any,
    packed: PackedBatch,
    rows: Sequence[Example],
    settings: Objective,
    references: dict[str, tuple[float, float]],
) -> PairBatch:
    cringe = None
    if settings.loss == "cringe":
        values, cringe = forward_cringe(model, packed, k=settings.k)
    elif settings.loss == "bradley-terry":
        values = forward_rewards(model, packed, with_grad=True)
    else:
        values = forward_logps(model, packed, with_grad=True)
    lengths = packed.lengths()

    def places(which: int) -> Tensor:
        return torch.tensor([at for at, (_, slot) in enumerate(packed.slots) if slot == which], device=values.device)

    def column(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=values.dtype, device=values.device)

    first, second, target = places(0), places(1), None
    if all(row.target is not None for row in rows):
        begin = {item: at for at, (item, slot) in enumerate(packed.slots) if slot == 0}
        target = torch.tensor([at + (row.target or 0) for at, row in zip(begin.values(), rows, strict=True)])
        target = target.to(values.device)
    needs_reference = settings.needs_reference
    return PairBatch(
        first_logp_sum=values[first],
        second_logp_sum=values[second],
        p_first=column([row.p_first for row in rows]),
        ref_first_logp_sum=column([references[row.id][0] for row in rows]) if needs_reference else None,
        ref_second_logp_sum=column([references[row.id][1] for row in rows]) if needs_reference else None,
        first_length=lengths[first],
        second_length=lengths[second],
        target_logp_sum=None if target is None else values[target],
        target_length=None if target is None else lengths[target],
        first_cringe_sum=None if cringe is None else cringe[first],
        second_cringe_sum=None if cringe is None else cringe[second],
    )


def pair_metrics(sums: Sums, pairs: PairBatch, settings: Objective) -> None:
    """Add TRL's metrics; chosen is what the label prefers, so a label of ½ has none and is left out.

    A loss without a reference has no implicit reward: its margins are of log-probs, in nats.
    """
    decided = pairs.p_first != 0.5
    first_better = (pairs.p_first > 0.5)[decided]
    first, second = pairs.first_logp_sum.detach(), pairs.second_logp_sum.detach()
    chosen = torch.where(first_better, first[decided], second[decided])
    rejected = torch.where(first_better, second[decided], first[decided])
    if settings.loss != "bradley-terry":
        sums.add("logps/chosen", chosen)
        sums.add("logps/rejected", rejected)
    if pairs.ref_first_logp_sum is not None and pairs.ref_second_logp_sum is not None:
        ref_first, ref_second = pairs.ref_first_logp_sum[decided], pairs.ref_second_logp_sum[decided]
        scale = getattr(settings, _REWARD_SCALE[settings.loss])
        chosen = scale * (chosen - torch.where(first_better, ref_first, ref_second))
        rejected = scale * (rejected - torch.where(first_better, ref_second, ref_first))
    if settings.needs_reference or settings.loss == "bradley-terry":
        sums.add("rewards/chosen", chosen)
        sums.add("rewards/rejected", rejected)
    sums.add("rewards/accuracies", (chosen > rejected).float())
    sums.add("rewards/margins", chosen - rejected)
