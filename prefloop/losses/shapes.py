"""Checks at the start of every loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefloop.losses.later import torch

if TYPE_CHECKING:
    from torch import Tensor


def same_rows(*tensors: Tensor) -> None:
    """Raise ValueError unless all tensors are one-dimensional and of one length (broadcasting hides mistakes)."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any(len(shape) != 1 or shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected tensors of one shape (B,), not {shapes}")


def soft_label(p: Tensor | float | None, flip_probability: float, *, like: Tensor) -> Tensor:
    """Make the label p (B,) in [0, 1] from a soft label or a flip probability, never both."""
    if not 0.0 <= flip_probability <= 1.0:
        raise ValueError(f"flip_probability must be in [0, 1], not {flip_probability}")
    if p is None:
        return torch.full_like(like, 1.0 - flip_probability, requires_grad=False)
    if flip_probability:
        raise ValueError("give a soft label or a flip probability, not both")
    label = torch.as_tensor(p, dtype=like.dtype, device=like.device).detach()
    label = label.expand_as(like) if label.ndim == 0 else label
    same_rows(label, like)
    if not bool(((label >= 0) & (label <= 1)).all()):
        raise ValueError("soft labels must be in [0, 1]")
    return label
