"""What a study's runs measured, and how it is read at equal KL.

Every run is a path: the policies that were measured in it, from the start (KL 0) on. The paper pools points by bins of
KL; here each run is read at fixed levels of KL, on the straight line between the two measured policies around the
level, so that no bin is empty, or full of one seed, by luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# On held-out prompts: win rate against the start, the truth's score, that of the labelling judge, characters. On stored
# pairs, one of each of some training prompts: whether the policy prefers the answer that is labelled better, by the
# log-prob that each gained since the start, and that gain of the better answer.
Measure = Literal["win", "gold", "proxy", "length", "accuracy", "chosen"]


class NotMeasured(ValueError):
    """A measure that the runs of this project do not have: gold without a truth, accuracy without stored labels."""


@dataclass(frozen=True, slots=True)
class Point:
    """A measured policy. The values of a measure are one for each prompt, in one order for all points."""

    step: int
    kl: float
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    length: float | None = None
    row: Mapping[str, Any] = field(default_factory=dict)  # what a page shows of it: its checkpoint, its loop


@dataclass(frozen=True, slots=True)
class Path:
    """One run: a seed of one setting of an arm, with its points from the start on."""

    arm: str
    setting: str  # the swept keys in words; "" where nothing is swept
    seed: int
    points: tuple[Point, ...]

    @property
    def reach(self) -> float:
        return max((point.kl for point in self.points), default=0.0)

    def table(self, measure: str) -> Floats:
        """Give the values of a measure, (points, prompts)."""
        return np.stack([_values(point, measure) for point in self.points])

    def at(self, kl: float, measure: str) -> Floats:
        """Give the values (prompts,) where the path first reaches this KL. Raises ValueError if it never does."""
        before = self.points[0]
        if kl <= before.kl:
            return _values(before, measure)
        for point in self.points[1:]:
            if point.kl >= kl:
                share = (kl - before.kl) / (point.kl - before.kl)
                return (1 - share) * _values(before, measure) + share * _values(point, measure)
            before = point
        raise ValueError(f"the path ends before a KL of {kl}")


def _values(point: Point, measure: str) -> Floats:
    found = point.values.get(measure)
    if found is None:
        raise NotMeasured(f"no {measure} was measured at step {point.step}")
    return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Results:
    """The finished paths of a study, of those seeds for which every planned run is finished."""

    paths: tuple[Path, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted({path.seed for path in self.paths})

    def of(self, arm: str) -> dict[str, list[Path]]:
        """Return the arm's paths by setting, each in the order of the seeds; only settings that every seed has."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.paths, key=lambda one: one.seed):
            if path.arm == arm:
                found.setdefault(path.setting, []).append(path)
        return {setting: paths for setting, paths in found.items() if len(paths) == len(self.seeds)}

    def reach(self, arm: str) -> float:
        """Give the KL that some setting of the arm reaches with every seed; 0 without one."""
        return max((min(path.reach for path in paths) for paths in self.of(arm).values()), default=0.0)

    def levels(self, arms: Sequence[str], n: int) -> list[float]:
        """Give `n` levels of KL, evenly spaced up to the last that all arms reach; none if an arm has not moved.

        They follow from the KLs alone, so no level is chosen by what was measured at it.
        """
        end = min(self.reach(arm) for arm in arms)
        return [end * at / n for at in range(1, n + 1)] if end > 0 else []

    def best(self, arm: str, kl: float, measure: str) -> Floats:
        """Give the best setting's values (seeds, prompts) at a level, without the gain of choosing by luck.

        The setting that is better on one half of the prompts is read on the other half, and the other way round.
        """
        able = [paths for paths in self.of(arm).values() if min(path.reach for path in paths) >= kl * (1 - 1e-12)]
        tables = [np.stack([path.at(min(kl, path.reach), measure) for path in paths]) for paths in able]
        if not tables:
            raise ValueError(f"no setting of {arm} reaches a KL of {kl}")
        found = np.empty_like(tables[0])
        for half in (0, 1):
            here, there = slice(half, None, 2), slice(1 - half, None, 2)
            chosen = max(tables, key=lambda table: _mean(table[:, there]))
            found[:, here] = chosen[:, here]
        return found


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else 0.0
