"""Child processes that are never orphaned."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from prefloop.measured import VARIABLE

PR_SET_PDEATHSIG = 1
# variables that no import depends on: training runs that differ in them are forked from one process
OF_A_RUN = {VARIABLE}


def start(
    arguments: Sequence[str],
    *,
    env: dict[str, str] | None = None,
    cwd: str | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    death_signal: int = signal.SIGKILL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own; on Linux the kernel sends it `death_signal` if we are killed.

    Call it from a thread that lives as long as the child may: the kernel watches the thread, not the process.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def before_exec() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            if os.getppid() != parent:  # killed between fork and prctl
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 - arguments come from our own code
        list(arguments),
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=before_exec,
        pass_fds=pass_fds,
    )


def stop(process: subprocess.Popen[bytes], *, grace_seconds: float) -> int:
    """Ask it to leave, wait, then end its whole group; return its exit status."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace_seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the group outlives its leader while any member is left
    return process.wait()


def die_with_parent(*, look_seconds: float = 0.5, leave: Callable[[int], None] = os._exit) -> None:
    """End this process when its parent is gone, by polling from a thread.

    For the pool's children: the kernel's death signal would follow the parent's *thread* that forked them, and the
    pool replaces lost children from a thread that ends before they do.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(look_seconds)
        leave(1)

    threading.Thread(target=look, name="die-with-parent", daemon=True).start()
