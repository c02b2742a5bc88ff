"""What an on-policy run needs besides its objective: which model answers, how often, who compares, what anchor
moves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefloop.config import ConfigError
from prefloop.config.fields import hints_of
from prefloop.judging.spec import JudgeSpec
from prefloop.recipes.engines import AUTO
from prefloop.recipes.parts import Draw, Filter, Label, Pairing, Score
from prefloop.recipes.past import Anchor, Memory
from prefloop.recipes.recipe import Recipe, part_from_json


@dataclass(frozen=True, kw_only=True)
class OnlineSpec:
    """The parts of a recipe that an on-policy run needs, and the places of its input files.

    Paths are absolute or relative to the run directory; they do not affect the result themselves.
    """

    draws: tuple[Draw, ...]
    refresh_steps: int = 1  # steps between two drawings of samples
    score: Score = field(default_factory=Score)
    filter: Filter = field(default_factory=Filter)
    pairing: Pairing = field(default_factory=Pairing)
    label: Label = field(default_factory=Label)
    memory: Memory = field(default_factory=Memory)
    anchor: Anchor = field(default_factory=Anchor)
    judge: JudgeSpec | None = None
    first_step: int = 0  # steps that the loop took before this run
    total_steps: int = 0  # steps of the whole loop, for the learning rate; 0: this run is all there is
    carry: str | None = (
        None  # checkpoint directory of the run that this one goes on from: optimizer, value head, anchor
    )
    replay: tuple[str, ...] = ()  # logs of the runs whose answers and labels are learnt from, in place of fresh ones
    replay_seed: int = 0
    n_steps: int = 0  # of a replay: how many of the steps; 0: all
    reward_model: str | None = None  # model directory that scores or compares; None: a judge does, or nobody

    def __post_init__(self) -> None:
        if not self.draws:
            raise ConfigError("an on-policy run has no draws: no model answers")
        if self.refresh_steps < 1:
            raise ConfigError(f"refresh_steps must be a whole number ≥ 1, not {self.refresh_steps}")

    @classmethod
    def of(cls, recipe: Recipe, *, reward_model: str | None = None, **more: Any) -> OnlineSpec:
        """Take the parts from a recipe. Raises ConfigError for one that does not sample inside training."""
        if not recipe.learns_in_steps:
            raise ConfigError(f"recipe {recipe.name} does not sample inside its training: refresh is {recipe.refresh}")
        return cls(
            draws=recipe.draws,
            refresh_steps=recipe.refresh_steps or 1,
            score=recipe.score,
            filter=recipe.filter,
            pairing=recipe.pairing,
            label=recipe.label,
            memory=recipe.memory,
            anchor=recipe.anchor,
            reward_model=reward_model,
            **more,
        )

    def settings(self) -> dict[str, Any]:
        """Everything that affects the result, as plain values, without the places of files."""
        plain = dataclasses.asdict(self)
        for name in ("reward_model", "carry", "replay"):
            plain.pop(name)
        for draw in plain["draws"]:
            if draw["engine"] == AUTO:  # younger than some runs that may go on
                draw.pop("engine")
        if self.judge is not None:
            plain["judge"] = self.judge.settings()
        return plain

    @classmethod
    def from_json(cls, data: Any) -> OnlineSpec:
        """Restore it from `dataclasses.asdict`. Raises ConfigError."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"online must be an object, not {data!r}")
        hints = hints_of(cls)
        values = dict(data)
        values.pop("missing_eos_penalty", None)  # of older runs, always 0: the objective has it now
        if strange := sorted(set(values) - set(hints)):
            raise ConfigError(f"online has no {', '.join(strange)}; known: {', '.join(hints)}")
        for name, value in values.items():
            if name == "draws":
                values[name] = tuple(part_from_json(Draw, draw, "draws") for draw in value)
            elif name == "judge":
                values[name] = None if value is None else JudgeSpec.from_json(value)
            elif name == "replay":
                values[name] = tuple(str(part) for part in value)
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = part_from_json(hints[name], value, name)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"online: {error}") from None
