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

    def register(self, listener: Callable[P, None]) -> None:
        self._all[f"{listener.__module__}.{listener.__qualname__}"] = listener

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for listener in self._all.values():
            listener(*args, **kwargs)
