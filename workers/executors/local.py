"""The process of a training run as a child of its worker.

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

from prefloop.child_env import child_environment
from prefloop.nursery import Life, Nursery
from workers import model_cache, processes
from workers.executors import Place, Process, Task

ENTRY = "prefloop.engine.forked:begin"
_nurseries: dict[frozenset[tuple[str, str]], Nursery] = {}
_running: weakref.WeakSet[_Forked] = weakref.WeakSet()
_lock = threading.Lock()


def start(task: Task) -> Process:
    """Start the process; it dies with this one."""
    env = child_environment(os.environ) | dict(task.env)
    source, ours = os.pipe()
    try:
        with task.log.open("ab") as log:
            numbers = [] if task.link is None else [task.link.fileno()]
            process: Process
            if model_cache.device() == "cpu":
                process = _Forked(_nursery(env), task.arguments, env=env, files=[source, log.fileno(), *numbers])
            else:
                process = _Fresh(
                    processes.start(
                        [sys.executable, *task.program, *task.arguments],
                        stdin=source,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=env,
                        pass_fds=numbers,
                    )
                )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(source)
        if task.link is not None:
            task.link.close()  # it is the process's alone: where that ends, we see it closed
    with contextlib.suppress(BrokenPipeError), open(ours, "wb") as pipe:  # it may have ended: its exit code says why
        pipe.write(task.told or b"")
    return process


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


class _Here:
    """What is true of every process on this machine."""

    lost = waiting = ""
    place: Place | None = None


class _Fresh(_Here):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._process.wait(timeout)

    def leave(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class _Forked(_Here):
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

    def leave(self) -> None:
        if self.returncode is None:
            self._life.signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.returncode is None:
            self._life.end()
        self.wait()
