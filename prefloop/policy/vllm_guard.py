"""Run a command for as long as a parent lives: `python vllm_guard.py PARENT_PID COMMAND…`, started in its own group.

Standard library only, and started by its path: the interpreter that runs it need not have prefloop. It ends the whole
process group when the parent is gone (however it ended: `kill -9` runs no handler in the parent), on SIGTERM, and when
the command has ended, because a server's own children can outlive it.

It polls the parent's id instead of using the kernel's death signal, because that signal follows the *thread* that
started us and does not reach grandchildren.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

LOOK_SECONDS = 0.2
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL, when told to stop: a server has nothing to save


def main(parent: int, command: list[str]) -> None:
    told = False

    def tell(*_: object) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - what our own code asked for
    try:
        while child.poll() is None and os.getppid() == parent and not told:
            time.sleep(LOOK_SECONDS)
        if told and child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
    finally:
        os.killpg(0, signal.SIGKILL)  # ourselves included: this is the last that happens here


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
