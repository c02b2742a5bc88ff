"""The supervisor of `up`: web and workers as children of one process, restarted when they end, and ended together."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workers import processes

STEADY_SECONDS = 60.0  # a child that ran for so long starts afresh in the back-off
MAX_BACKOFF_SECONDS = 30.0


@dataclass
class Child:
    """One process that should always run."""

    name: str
    arguments: Sequence[str]
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    n_failures: int = 0


@dataclass
class Supervisor:
    """Call `add`, then `serve` from the main thread: children are bound to the thread that starts them."""

    say: Callable[[str], None]
    grace_seconds: float
    children: list[Child] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    n_signals: int = 0

    def add(self, *, name: str, arguments: Sequence[str], env: dict[str, str]) -> Child:
        """Start a child and keep it running."""
        child = Child(name=name, arguments=arguments, env=env)
        self.children.append(child)
        self._start(child)
        return child

    def listen(self) -> None:
        """Ctrl-C or SIGTERM once: shut down in order. Again: at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._told)

    def serve(self, *, every_turn: Callable[[], None] = lambda: None) -> None:
        """Watch the children until told to stop."""
        while not self.stopping.wait(0.25):
            for child in self.children:
                self._look_after(child)
            every_turn()

    def end(self) -> None:
        """Ask all children to leave at the same time, wait for the grace period, then kill the remaining groups."""
        running = [child for child in self.children if child.process is not None and child.process.poll() is None]
        for child in running:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        while time.monotonic() < deadline and self.n_signals < 2 and any(_runs(child) for child in running):
            time.sleep(0.05)
        for child in running:
            if child.process is not None:
                processes.stop(child.process, grace_seconds=0)

    def _told(self, *_: object) -> None:
        self.n_signals += 1
        self.stopping.set()

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        # should we be killed, they are told to leave in order: a running job goes back to the queue
        child.process = processes.start(child.arguments, env=child.env, death_signal=signal.SIGTERM)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child)
            return
        status = child.process.poll()
        if status is None:
            return
        processes.stop(child.process, grace_seconds=0)  # what it left of its group
        child.n_failures = 1 if now - child.started_at > STEADY_SECONDS else child.n_failures + 1
        wait = min(2.0 ** (child.n_failures - 1), MAX_BACKOFF_SECONDS)
        child.process, child.start_at = None, now + wait
        self.say(f"{child.name} ended ({_how(status)}); starting it again in {wait:.0f} s")


def _runs(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _how(status: int) -> str:
    return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
