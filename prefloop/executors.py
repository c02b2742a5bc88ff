"""The executors that can run the process of a training run, each declared once.

Settings, the doctor and the documentation read it here; `workers/executors/` has a module for each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where it runs a process, and the extra and the setting that it needs."""

    name: str
    about: str


LOCAL = Executor(name="local", about="a child of the worker, on its machine")
EXECUTORS = (LOCAL,)
NAMES = tuple(one.name for one in EXECUTORS)
