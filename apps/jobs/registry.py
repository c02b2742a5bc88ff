"""Which function runs which kind of job.

Handlers without torch live in `apps/<app>/tasks.py`; those with torch in a package `handlers` of an installed app
and are imported only where the gpu queue is drained. What a handler may raise and use is re-exported here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings

from apps.jobs.context import JobContext
from apps.jobs.errors import JobCancelled, JobFailure, JobFenced, JobInterrupted, JobStop

__all__ = [
    "Handler",
    "JobCancelled",
    "JobContext",
    "JobFailure",
    "JobFenced",
    "JobInterrupted",
    "JobStop",
    "handler",
    "handler_for",
    "load_handlers",
]

Run = Callable[[JobContext], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Handler:
    kind: str
    queue: str
    run: Run


_handlers: dict[str, Handler] = {}
_loaded: set[str] = set()


def handler(kind: str, *, queue: str) -> Callable[[Run], Run]:
    """Register a function as the handler of this kind. A second function for a kind is a mistake."""

    def register(run: Run) -> Run:
        before = _handlers.get(kind)
        if before is not None and (before.run.__module__, before.run.__qualname__) != (
            run.__module__,
            run.__qualname__,
        ):
            raise ValueError(f"{kind} has a handler already: {before.run.__module__}.{before.run.__qualname__}")
        _handlers[kind] = Handler(kind=kind, queue=queue, run=run)
        return run

    return register


def load_handlers(queues: Iterable[str]) -> None:
    """Import every app's `tasks` and `cpu_handlers`, for the gpu queue `handlers` too (modules or packages)."""
    for path in settings.JOB_MODULES:
        importlib.import_module(path)
    wanted = {"tasks", "cpu_handlers", *(["handlers"] if "gpu" in queues else [])} - _loaded
    for name in sorted(wanted, reverse=True):
        for config in apps.get_app_configs():
            path = f"{config.name}.{name}"
            if find_spec(path) is None:
                continue
            module = importlib.import_module(path)
            for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
                importlib.import_module(f"{path}.{found.name}")
        _loaded.add(name)


def handler_for(kind: str) -> Handler | None:
    return _handlers.get(kind)
