"""In which precision a model computes on this machine, as far as that is known without torch.

`auto` is bf16 on a GPU. On a CPU it is fp32, except for a model of `LEAST_PARAMETERS` or more where bf16 was measured
to be faster (`engine/precision.py` measures it, once for a machine and a shape of model). The answer depends on nothing
else, so sampling, scoring, training and evaluation of one model get the same one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefloop.measured import remembered
from prefloop.memory import Shape

LEAST_PARAMETERS = 50_000_000  # smaller models are fast anyway, and stay exactly what they are in fp32
FASTER = 1.2  # bf16 must be that much faster, training and sampling taken together, to be worth its rounding
KINDS = ("training", "sampling")
WIDTHS = {"float32": 4, "bfloat16": 2, "float64": 8}  # bytes of a number
Speeds = Mapping[str, Mapping[str, float]]  # GFLOP/s by kind and precision


def speeds_name(shape: Shape) -> str:
    """Name the measurement of a model's shape: its widest and its usual matrix decide."""
    return f"precision {shape.hidden}x{shape.mlp}"


def gains(speeds: Speeds) -> dict[str, float]:
    """Say how many times as fast bf16 is as fp32, by kind."""
    return {kind: speeds[kind]["bfloat16"] / speeds[kind]["float32"] for kind in KINDS}


def faster(speeds: Speeds) -> str:
    """Choose: bf16 where it is slower in neither kind and faster in both together."""
    found = gains(speeds).values()
    return "bfloat16" if min(found) >= 1.0 and math.prod(found) ** (1 / len(found)) >= FASTER else "float32"


def on_cpu(setting: str, shape: Shape, *, threads: int, folder: Path) -> str:
    """Say in which precision a model will compute on this CPU; one that nobody has measured is taken for fp32."""
    if setting != "auto":
        return setting
    if shape.n_parameters < LEAST_PARAMETERS:
        return "float32"
    speeds: dict[str, Any] | None = remembered(folder, speeds_name(shape), threads=threads)
    return faster(speeds) if speeds is not None else "float32"
