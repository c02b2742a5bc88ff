"""The process of a training run, as the worker that started it sees it.

On a CPU it is forked from a nursery that has imported torch and transformers already: three seconds of processor time
less for each run. On a GPU, whose driver can't be used after a fork, it is a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

from prefloop.nursery import Life, Nursery
from workers import model_cache, processes

ENTRY = "prefloop.engine.forked:begin"
_nurseries: dict[frozenset[tuple[str, str]], Nursery] = {}
_running: weakref.WeakSet[_Forked] = weakref.WeakSet()
_lock = threading.Lock()


class TrainingProcess(Protocol):
    """What a worker asks of the process; like `subprocess.Popen`."""

    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    told: bytes | None,
    log: IO[bytes],
    pass_fds: Sequence[int] = (),
) -> TrainingProcess:
    """Start `prefloop.engine.train` with these arguments, `told` on its standard input, and its output in the log.

    The process dies with this one. `pass_fds`: open files that it has under the same numbers.
    """
    source, ours = os.pipe()
    try:
        process: TrainingProcess
        if model_cache.device() == "cpu":
            process = _Forked(_nursery(env), arguments, env=env, files=[source, log.fileno(), *pass_fds])
        else:
            process = processes.start(
                [sys.executable, "-m", "prefloop.engine.train", *arguments],
                stdin=source,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                pass_fds=pass_fds,
            )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(source)
    with contextlib.suppress(BrokenPipeError), open(ours, "wb") as pipe:  # it may have ended: its exit code says why
        pipe.write(told or b"")
    return process


def kill(process: TrainingProcess) -> None:
    """End the process with all that it started."""
    if isinstance(process, _Forked):
        process.kill()
    elif isinstance(process, subprocess.Popen):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _nursery(env: Mapping[str, str]) -> Nursery:
    """Return the nursery for this environment, without what differs from run to run."""
    shared = {name: value for name, value in env.items() if name not in processes.OF_A_RUN}
    key = frozenset(shared.items())
    with _lock:
        if key not in _nurseries:
            busy = {process.nursery for process in _running}
            for other, nursery in list(_nurseries.items()):
                if nursery not in busy:  # each holds what it has imported
                    _nurseries.pop(other).close()
            _nurseries[key] = Nursery(ENTRY, shared)
        return _nurseries[key]


class _Forked:
    def __init__(self, nursery: Nursery, arguments: Sequence[str], *, env: Mapping[str, str], files: list[int]) -> None:
        task = {
            "arguments": list(arguments),
            "environment": dict(env),
            "directory": os.getcwd(),
            "numbers": files[2:],
        }
        self.nursery = nursery
        self.returncode: int | None = None
        _running.add(self)
        self._life: Life = nursery.fork([], files, task)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                status = self._life.status(timeout)
            except TimeoutError:
                raise subprocess.TimeoutExpired("prefloop.engine.train", timeout or 0.0) from None
            # nobody knows: the nursery was killed, and the process with it
            self.returncode = -signal.SIGKILL if status is None else status
            self._life.close()
            _running.discard(self)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.returncode is None:
            self._life.signal(sig)

    def kill(self) -> None:
        if self.returncode is None:
            self._life.end()
