"""Ending a pass of a large model early: a check that runs before each of its layers, forward and backward, and may
raise.

A pass of a large model on a CPU takes minutes, while whoever asks a process to leave waits for seconds. Every loaded
model asks here before each layer, so that sampling (each token is a pass), scoring and training need no other check.
Torch-free: a worker sets its check before it loads anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Check = Callable[[], None]


class _OfThread(threading.local):
    """The checks of one thread, the current one last: a check may use its thread's database connection."""

    def __init__(self) -> None:
        self.checks: list[Check] = []


_thread = _OfThread()


@contextmanager
def interrupted_by(check: Check) -> Iterator[None]:
    """Call `check` before each layer of any loaded model while the block lasts, in this thread; what it raises ends
    the pass.
    """
    checks = _thread.checks
    checks.append(check)
    try:
        yield
    finally:
        checks.pop()


def make_interruptible(layers: Iterable[Any]) -> None:
    """Let a model's layers ask the current check; without one they run as before."""
    for layer in layers:
        layer.register_forward_pre_hook(_before_layer)


def ask() -> None:
    """Call the current check, if there is one for this thread."""
    if _thread.checks:
        _thread.checks[-1]()


def _before_layer(_layer: Any, inputs: tuple[Any, ...]) -> None:
    if not _thread.checks:
        return
    ask()
    if inputs and getattr(inputs[0], "requires_grad", False):
        inputs[0].register_hook(_within_backward)


def _within_backward(_gradient: Any) -> None:
    """Run between a layer's backward pass and that of the layer before it."""
    ask()
