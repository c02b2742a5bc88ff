"""The losses by name: every `Loss` in a file of this package is found. Torch-free."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import prefloop.losses
from prefloop.losses.declaration import Loss

_TOOLS = frozenset({"declaration", "later", "logps", "pairs", "precision", "registry", "shapes"})  # files of no loss


def _declared() -> dict[str, Loss]:
    found: dict[str, Loss] = {}
    for info in pkgutil.iter_modules(prefloop.losses.__path__):
        if info.name in _TOOLS:
            continue
        for value in vars(import_module(f"prefloop.losses.{info.name}")).values():
            if isinstance(value, Loss) and found.setdefault(value.name, value) is not value:
                raise AssertionError(f"two losses are named {value.name}")
    return found


LOSSES: dict[str, Loss] = _declared()
