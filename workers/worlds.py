"""Worlds with a known truth, by the name that a project carries. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from prefloop.types import PrefloopError
from prefloop.worlds.letters.utility import utility

Utility = Callable[[str, str], float]

WORLDS: dict[str, Utility] = {"letters": utility}


class UnknownWorld(PrefloopError):
    """A project names a world that is not installed."""


def utility_of(world: str) -> Utility | None:
    """Return the world's utility of (prompt, completion), None for a project without a world. Raises UnknownWorld."""
    if not world:
        return None
    if world not in WORLDS:
        raise UnknownWorld(f"no world {world!r}; there are: {', '.join(WORLDS)}")
    return WORLDS[world]
