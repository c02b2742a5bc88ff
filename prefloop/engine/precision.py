"""Choosing the precision that a model computes in, by a measurement where that is for the CPU to say.

In bf16 a matrix has half the bytes, and a processor with AVX512-BF16 or AMX multiplies it two to three times as fast;
one without takes several times as long as in fp32. The optimizer's weights, sums and moments, log-softmax, log-probs
and losses are fp32 in either case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from prefloop.checkpoints import check_checkpoint_dir, count_parameters
from prefloop.measured import measured_once, processor
from prefloop.memory import Shape
from prefloop.policy.adapters import base_of
from prefloop.precision import LEAST_PARAMETERS, Speeds, faster, gains, speeds_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
_COMPARED = {name: DTYPES[name] for name in ("float32", "bfloat16")}
_ROWS = {"training": 256, "sampling": 32}  # tokens in a pass, answers in a step
_FEW = 16  # rows of a first look, which is enough where bf16 is far slower
_WIDEST = 1024  # of a matrix that is measured: wider ones take longer and say the same
_STREAMED_BYTES = 2**25  # of matrices that a step of sampling goes through: more than the inner caches hold
_ROUNDS, _SECONDS = 5, 0.5  # for each kind at most


@dataclass(frozen=True, slots=True)
class Chosen:
    """The precision of a model's weights; `why` is a sentence where it had to be measured."""

    precision: str
    why: str = ""

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def keeps_full(self) -> bool:
        """Whether weights are kept in fp32 all the same: bf16 was chosen for its speed, and nobody asked for it."""
        return bool(self.why) and self.precision == "bfloat16"


def choose(path: Path, *, setting: str, device_type: str, threads: int, folder: Path | None) -> Chosen:
    """Choose the precision of the model in this directory. `setting`: one of `PRECISIONS`; `folder`: where
    measurements are kept, None where they are not. Raises UnsafeCheckpoint and UnloadableModel.
    """
    if setting != "auto":
        return Chosen(setting)
    if device_type == "cuda":
        return Chosen("bfloat16")
    shape = shape_of(path) if path.is_dir() else None  # a run that goes on may not need its start any more
    if device_type != "cpu" or shape is None or shape.n_parameters < LEAST_PARAMETERS:
        return Chosen("float32")
    speeds = measured_once(folder, speeds_name(shape), lambda: measure(shape, threads), threads=threads)
    return Chosen(faster(speeds), _sentence(speeds, threads))


def shape_of(path: Path) -> Shape | None:
    """Read the sizes of a model from its files; None if they don't tell. Raises UnsafeCheckpoint, UnloadableModel."""
    check_checkpoint_dir(path)
    whole = base_of(path) or path
    try:
        config = json.loads((whole / "config.json").read_text("utf-8"))
        return Shape.of(config, count_parameters(whole))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # whoever loads the model says what is wrong with it


def measure(shape: Shape, threads: int) -> dict[str, dict[str, float]]:
    """Measure GFLOP/s in fp32 and in bf16: a linear layer of this shape forward and backward over a pass of tokens, and
    forward over a step of sampling, which reads more weights than the inner caches hold. Takes about a second.
    """
    wide, long = min(shape.hidden, _WIDEST), min(shape.mlp, _WIDEST)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = {}
        with torch.random.fork_rng():  # what a run draws does not depend on whether its machine is known already
            for kind, rows in _ROWS.items():
                make = _training if kind == "training" else _sampling
                look = _rates({name: make(dtype, _FEW, wide, long) for name, dtype in _COMPARED.items()}, rounds=2)
                if look["bfloat16"] > look["float32"] / 2:
                    look = _rates({name: make(dtype, rows, wide, long) for name, dtype in _COMPARED.items()}, _ROUNDS)
                found[kind] = look
        return found
    finally:
        torch.set_num_threads(before)


def _rates(works: dict[str, tuple[Callable[[], None], float]], rounds: int) -> dict[str, float]:
    """Do each work in turns, so that both see the same machine; returns GFLOP/s of the fastest time of each."""
    best = dict.fromkeys(works, float("inf"))
    began = perf_counter()
    for number in range(rounds):
        for name, (work, _) in works.items():
            started = perf_counter()
            work()
            best[name] = min(best[name], perf_counter() - started)
        if number and perf_counter() - began > _SECONDS:  # the first round also prepares the kernels
            break
    return {name: float(f"{works[name][1] / seconds / 1e9:.4g}") for name, seconds in best.items()}


def _training(dtype: torch.dtype, rows: int, wide: int, long: int) -> tuple[Callable[[], None], float]:
    layer = nn.Linear(wide, long, bias=False, dtype=dtype)
    tokens = torch.ones(rows, wide, dtype=dtype, requires_grad=True)
    gradient = torch.ones(rows, long, dtype=dtype)

    def work() -> None:
        tokens.grad = layer.weight.grad = None
        layer(tokens).backward(gradient)

    return work, 3 * 2.0 * rows * wide * long  # forward, and the gradients of tokens and weights


def _sampling(dtype: torch.dtype, rows: int, wide: int, long: int) -> tuple[Callable[[], None], float]:
    most = 2 if rows == _FEW else 16
    count = max(1, min(most, _STREAMED_BYTES // (4 * wide * long)))
    weights = torch.ones(count, long, wide, dtype=dtype)
    tokens = torch.ones(rows, wide, dtype=dtype)

    def work() -> None:
        with torch.inference_mode():
            for weight in weights:
                nn.functional.linear(tokens, weight)

    return work, count * 2.0 * rows * wide * long


def _sentence(speeds: Speeds, threads: int) -> str:
    said = ", ".join(
        f"{kind} {speeds[kind]['bfloat16']:.3g} against {speeds[kind]['float32']:.3g} GFLOP/s ({gain:.2g} times)"
        for kind, gain in gains(speeds).items()
    )
    return f"{faster(speeds)}: measured in bf16 against fp32 on {processor()}, threads {threads}: {said}"


class Kept:
    """What was measured for the models of one run, in a file of its directory: it goes on in the same precision."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = json.loads(path.read_text("utf-8"))
            self._known = {key: Chosen(**value) for key, value in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}

    def get(self, name: str, decide: Callable[[], Chosen]) -> tuple[Chosen, bool]:
        """Return what was chosen for this model, and whether it was measured or looked up just now. What needs no
        measurement is not kept: it is the same at any time.
        """
        known = self._known.get(name)
        if known is not None:
            return known, False
        chosen = decide()
        if not chosen.why:
            return chosen, False
        self._known[name] = chosen
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.write_text(json.dumps({key: asdict(one) for key, one in self._known.items()}, indent=1), "utf-8")
        temporary.replace(self._path)
        return chosen, True
