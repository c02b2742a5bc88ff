"""The parts of a recipe that look back: earlier examples that are trained on again, and a policy as the anchor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from prefloop.config import setting
from prefloop.config.numbers import whole_number
from prefloop.recipes.parts import Part


@dataclass(frozen=True, kw_only=True)
class Memory(Part):
    """Which past examples are trained on again. `replays`: whether the method produces anything to replay.

    `kind` "replay" (the data of another loop's run in a chosen order) is for the tandem methods only.
    """

    replays: bool = False
    kind: str = setting(
        "none",
        choices=("none", "rounds", "overrides"),
        help="Earlier examples to train on again: none, the last k rounds, or the project's overridden labels.",
    )
    k: int = setting(1, minimum=1, maximum=1000, help="Number of past rounds that are trained on again.")
    weight: float = setting(1.0, above=0.0, maximum=1000.0, help="Weight of an earlier example, relative to a new one.")
    run: str = setting(
        "", help="Number of the loop whose data is replayed; empty means the newest loop of the right kind."
    )
    order: str = setting(
        "uniform",
        choices=("logged", "uniform"),
        prefixes=("window:",),
        help="Order of the replay: as logged, shuffled within windows of so many batches (window:500), or uniform.",
        source="Tang et al. 2024, arXiv:2405.08448v1: uniform; none, 4 and 500 as ablation",
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order.startswith("window:"):
            whole_number("order", self.order, "window:")

    def explain(self, name: str) -> dict[str, object]:
        if name == "kind" and self.kind == "replay":
            return {"choices": ("replay",), "help": "The data of another loop is trained on again."}
        return {}

    def hidden(self) -> frozenset[str]:
        if self.kind == "replay":
            return frozenset({"k", "weight"})
        replay = frozenset({"run", "order"})
        return replay if self.replays else replay | {"kind", "k", "weight"}

    @property
    def window(self) -> int | None:
        """Number of batches that are shuffled together; None means no shuffling (logged) or complete shuffling
        (uniform).
        """
        return int(self.order.removeprefix("window:")) if self.order.startswith("window:") else None


@dataclass(frozen=True, kw_only=True)
class Anchor(Part):
    """A policy that the objective pulls towards and that may move; the methods that have one set `kind`."""

    kind: Literal["none", "initial", "copy", "ema"] = "none"
    rate: float = setting(
        0.02,
        minimum=0.0,
        maximum=1.0,
        help="How far an EMA anchor moves towards the policy at each step; 0 keeps it fixed.",
        source="Sessa et al. 2024 (J-BOND), arXiv:2407.14622v1",
    )
    every: int = setting(
        50,
        minimum=1,
        help="Steps between two copies of the policy to the anchor.",
        source="this project's; Sessa et al. 2024 (iterative BOND), arXiv:2407.14622v1: 1000",
    )

    @property
    def moves(self) -> bool:
        return self.kind in ("copy", "ema")

    def hidden(self) -> frozenset[str]:
        return {
            "none": frozenset({"rate", "every"}),
            "initial": frozenset({"rate", "every"}),
            "copy": frozenset({"rate"}),
            "ema": frozenset({"every"}),
        }[self.kind]
