"""Hooks by which an app below tells apps above of something, without importing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Functions that are called in turn, in the transaction of whoever tells.

    Register in `AppConfig.ready()`; registering the same function again replaces it.
    """

    def __init__(self) -> None:
        self._all: dict[str, Callable[P, None]] = {}

    def register(self, listener: Callable[P, None], *, first: bool = False) -> None:
        """Call it after those that are registered; with `first`, before them, where the order of locks asks for it."""
        name = f"{listener.__module__}.{listener.__qualname__}"
        self._all = {name: listener} | self._all if first else self._all | {name: listener}

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for listener in self._all.values():
            listener(*args, **kwargs)
