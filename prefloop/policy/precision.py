"""The precision that log-probs, losses and optimizers compute in: float32, or float64 where the weights are float64."""

from __future__ import annotations

import torch
from torch import Tensor


def full_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the dtype to compute in beside weights of `dtype`: never less than float32."""
    return torch.promote_types(dtype, torch.float32)


def in_full(values: Tensor) -> Tensor:
    """Convert floating-point values to their `full_dtype`; values that already have it are returned unchanged."""
    return values.to(full_dtype(values.dtype))
