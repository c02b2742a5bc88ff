"""Where the process of a training run runs, which PREFLOOP_EXECUTOR decides.

A worker claims the run's job, watches it, takes in its events and writes its results, wherever the process is. An
executor is a module of this package with a function `start`, by the name that `prefloop/executors.py` declares: it
starts the process, and returns a `Process` to look at it, to ask it to leave and to end it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from django.conf import settings

TRAINING = ("-m", "prefloop.engine.train")
BULK = ("-m", "prefloop.bulk.run")  # only where the executor runs many engines


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A process that is wanted: a program of ours, as Python is told it, with these arguments, for a job.

    `told` comes on its standard input, and is the one way for secrets: neither the environment nor the arguments hold
    any. `link`: an open socket that it has under the same number, which is the executor's to close from then on.
    """

    name: str  # of the run
    arguments: Sequence[str]
    program: tuple[str, ...] = TRAINING
    env: Mapping[str, str]  # variables of the run, beside those of the machine
    log: Path  # which its output is added to
    told: bytes | None = None
    link: socket.socket | None = None
    cards: int = 0  # that it wants, with so many processor cores and bytes of the machine's memory
    cores: int = 1
    memory: int = 0


class Process(Protocol):
    """A run's process, as the worker that started it sees it; `poll`, `wait` and `returncode` are those of Popen."""

    @property
    def returncode(self) -> int | None: ...

    @property
    def lost(self) -> str:
        """Why nobody knows how it ended; "" where somebody does."""
        ...

    @property
    def waiting(self) -> str:
        """What it waits for before it runs; "" once it runs."""
        ...

    @property
    def place(self) -> Place | None:
        """Where else than on the worker's machine it runs."""
        ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        ...

    def leave(self) -> None:
        """Ask it to write a checkpoint and leave: SIGTERM."""
        ...

    def kill(self) -> None:
        """End it with all that it started, and wait until it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster runs a process: in words, and at which address that is shown ("" where at none)."""

    words: str
    page: str = ""


def start(task: Task) -> Process:
    """Start a process where PREFLOOP_EXECUTOR says. It leaves when this worker is gone."""
    process: Process = import_module(f"workers.executors.{settings.EXECUTOR}").start(task)
    return process
