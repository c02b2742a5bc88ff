"""Averages of models' weights: reward models by their mean (WARM), policies by SLERP of their task vectors (WARP).

Weights can only be averaged where all models were trained from one: else their units mean different things.
Sources: Ramé et al. 2024, WARM, arXiv:2401.12187; Ramé et al. 2024, WARP, arXiv:2406.16768, § 3.

Departures: WARP's exponential moving average of the policy as an anchor belongs to the run, and is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from prefloop.types import PrefloopError

Weights = Mapping[str, Tensor]
_PARALLEL = 1e-6  # of the sine of the angle, below which two directions are one


class NotAlike(PrefloopError):
    """Models whose weights can't be averaged."""


def read_weights(directory: Path) -> dict[str, Tensor]:
    """Read all weights of a model directory as they are. Raises NotAlike for an adapter without its base."""
    files = sorted(directory.glob("model*.safetensors"))
    if not files:
        raise NotAlike(f"{directory.name} holds no whole weights: merge its adapter first")
    found: dict[str, Tensor] = {}
    for file in files:
        found |= load_file(file)
    return found


def mean_weights(models: Sequence[Weights]) -> dict[str, Tensor]:
    """Average the weights. Raises NotAlike unless all have the same tensors."""
    _check_alike(models)
    return {
        name: torch.stack([one[name].double() for one in models]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in models[0].items()
    }


def slerp_weights(base: Weights, models: Sequence[Weights], *, keep: float = 1.0) -> dict[str, Tensor]:
    """Merge what each model learnt since `base` along the sphere, tensor by tensor, and go the share `keep` of the way.

    Two are merged half way; each further one joins with the share that makes all count alike. Where two point in one
    direction this is their mean. Lengths are kept, which a mean shrinks where models disagree. Raises NotAlike.
    """
    _check_alike([base, *models])
    merged = {}
    for name, start in base.items():
        if not start.is_floating_point():
            merged[name] = start
            continue
        exact = start.double()
        found = models[0][name].double() - exact
        for number, one in enumerate(models[1:], start=2):
            found = _slerp(found, one[name].double() - exact, 1.0 / number)
        merged[name] = (exact + keep * found).to(start.dtype)
    return merged


def _slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Go this share of the way from one vector to another: direction along the arc, both lengths weighed by it."""
    lengths = float(one.norm()), float(other.norm())
    if not all(lengths):
        return (1 - share) * one + share * other
    cosine = max(-1.0, min(1.0, float((one * other).sum()) / (lengths[0] * lengths[1])))
    angle = math.acos(cosine)
    if math.sin(angle) < _PARALLEL:
        return (1 - share) * one + share * other
    return (math.sin((1 - share) * angle) * one + math.sin(share * angle) * other) / math.sin(angle)


def _check_alike(models: Sequence[Weights]) -> None:
    if len(models) < 2:
        raise NotAlike("there must be two models or more")
    shapes = {name: value.shape for name, value in models[0].items()}
    for one in models[1:]:
        if {name: value.shape for name, value in one.items()} != shapes:
            raise NotAlike("the models have different tensors, or tensors of different shapes")


__all__ = ["NotAlike", "mean_weights", "read_weights", "slerp_weights"]
