"""What a step-refreshed run is told beside its objective: who answers, how often, who compares, what moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from prefloop.config import ConfigError
from prefloop.recipes.parts import Anchor, Draw, Filter, Label, Memory, Pairing, Score
from prefloop.recipes.recipe import Recipe, part_from_json


@dataclass(frozen=True, kw_only=True)
class OnlineSpec:
    """The parts of a recipe that an online run needs, and where what it reads lies.

    Paths are absolute or relative to the run directory; they do not decide the result by themselves.
    """

    draws: tuple[Draw, ...]
    refresh_steps: int = 1  # steps between two drawings of samples
    score: Score = field(default_factory=Score)
    filter: Filter = field(default_factory=Filter)
    pairing: Pairing = field(default_factory=Pairing)
    label: Label = field(default_factory=Label)
    memory: Memory = field(default_factory=Memory)
    anchor: Anchor = field(default_factory=Anchor)
    reward_model: str | None = None  # model directory that scores or compares; None: a judge does, or nobody

    def __post_init__(self) -> None:
        if not self.draws:
            raise ConfigError("an online run has no draws: nobody answers")
        if self.refresh_steps < 1:
            raise ConfigError(f"refresh_steps must be a whole number ≥ 1, not {self.refresh_steps}")

    @classmethod
    def of(cls, recipe: Recipe, *, reward_model: str | None = None) -> OnlineSpec:
        """Take the parts from a recipe. Raises ConfigError for one that does not sample inside training."""
        if not recipe.is_online:
            raise ConfigError(f"recipe {recipe.name} does not sample inside its training: refresh is {recipe.refresh}")
        return cls(
            draws=recipe.draws,
            refresh_steps=recipe.refresh_steps,
            score=recipe.score,
            filter=recipe.filter,
            pairing=recipe.pairing,
            label=recipe.label,
            memory=recipe.memory,
            anchor=recipe.anchor,
            reward_model=reward_model,
        )

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values: not where things lie."""
        plain = dataclasses.asdict(self)
        plain.pop("reward_model")
        return plain

    @classmethod
    def from_json(cls, data: Any) -> OnlineSpec:
        """Make it again from `dataclasses.asdict`. Raises ConfigError."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"online must be an object, not {data!r}")
        hints = get_type_hints(cls)
        values = dict(data)
        if strange := sorted(set(values) - set(hints)):
            raise ConfigError(f"online has no {', '.join(strange)}; known: {', '.join(hints)}")
        for name, value in values.items():
            if name == "draws":
                values[name] = tuple(part_from_json(Draw, draw, "draws") for draw in value)
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = part_from_json(hints[name], value, name)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"online: {error}") from None
