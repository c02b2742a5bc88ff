"""The process of one confined task: forked from a nursery with only our modules in memory, and two pipes to it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prefloop.nursery import Nursery

_END_SECONDS = 10.0  # for the kernel to end a process
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve address space by the gigabyte
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # a thread that its import would start
    "MALLOC_ARENA_MAX": "1",
}
nursery = Nursery("prefloop.confined.child:begin", _ENVIRONMENT, isolated=True)


class Forked:
    """One child: the pipe to it (`stdin`), the pipe from it (`stdout`), and its end."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Ask for a child that has imported `modules`; it comes up by itself, or closes its pipes."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self.stdin = open(ours_in, "wb", buffering=0)  # noqa: SIM115 - `end` closes them
        self.stdout = open(ours_out, "rb", buffering=0)  # noqa: SIM115
        self._ended = False
        try:
            with open(theirs_in, "rb", 0), open(theirs_out, "wb", 0):
                self._life = nursery.fork(modules, [theirs_in, theirs_out])
        except BaseException:
            self.stdin.close()
            self.stdout.close()
            raise

    def wait(self) -> int | None:
        """Wait for a child that has closed its pipes, and give how it ended as `subprocess` does (-9: by SIGKILL).

        None where nobody knows: the nursery has ended too, could not fork, or the child goes on.
        """
        status = self._status()
        self.end()
        return status

    def end(self) -> None:
        """End the child with its process group, and wait until it is gone. Close the pipes."""
        if not self._ended:
            self._ended = True
            self._life.end()
            self._status()
            self._life.close()
            self.stdin.close()
            self.stdout.close()

    def _status(self) -> int | None:
        try:
            return self._life.status(_END_SECONDS)
        except TimeoutError:
            return None
