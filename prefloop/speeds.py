"""How many tokens a second a model of one size samples, reads and trains on this machine. Torch-free.

`prefloop.engine.speed` measures it once, in a few seconds; forecasts compute with it before anything has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefloop.measured import remembered
from prefloop.memory import Shape

SLOW_FLOPS = 20e9  # of a processor core, in fp32, with other work beside it


def tokens_in(seconds: float, n_parameters: int) -> float:
    """Count the tokens that a forward pass of a model of this size reads in that time on a slow CPU.

    Not a measurement: work that is cut by it is cut alike on every machine.
    """
    return seconds * SLOW_FLOPS / (2 * max(1, n_parameters))


@dataclass(frozen=True, slots=True)
class Speeds:
    """Tokens a second."""

    sampled: float
    read: float  # a forward pass without gradients: references, scores
    trained: float  # forward and backward

    def seconds(self, *, sampled: float = 0.0, read: float = 0.0, trained: float = 0.0) -> float:
        """Say how long so many tokens of each kind take."""
        return sampled / self.sampled + read / self.read + trained / self.trained


def measurement_name(shape: Shape, precision: str) -> str:
    """Name the measurement of a model's size. `precision`: as it is set, `auto` for what the machine is best at."""
    return f"speed {shape.n_parameters} parameters, {shape.layers}x{shape.hidden}, {precision}"


def known_speeds(name: str, *, threads: int, folder: Path) -> Speeds | None:
    """Return what was measured here under this name, None if nothing was."""
    found = remembered(folder, name, threads=threads)
    return None if found is None else Speeds(**found)
