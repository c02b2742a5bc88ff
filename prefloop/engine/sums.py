"""Sums of the logged values of a step, over its passes and its processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class Sums:
    """Sums of a batch; a metric's mean is over the rows that have the metric."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        if values.numel():
            self.totals[name] = self.totals.get(name, 0.0) + float(values.double().sum())
            self.counts[name] = self.counts.get(name, 0) + values.numel()

    def add_all(self, metrics: Mapping[str, Tensor]) -> None:
        for name, values in metrics.items():
            self.add(name, values)

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
