"""Lazy import of torch: the file of a loss can be read without torch, and computes where torch is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch as torch
else:
    from importlib import import_module

    class _Later:
        def __getattr__(self, name):
            return getattr(import_module("torch"), name)

    torch = _Later()

__all__ = ["torch"]
