"""The process of a training run on a node of a cluster: `python -m workers.node DIRECTORY`.

A cluster starts this program; it starts the process, and passes on what the run's worker and the process have to tell
each other. They do that through files in DIRECTORY, which is on a disk that both machines have, and which only their
common user can read:

    task.json     the arguments of Python, the environment (no secrets), and where the output goes; by the worker
    told          what the process gets on its standard input, keys of judges among it: removed before that starts
    worker        a sign of life of the worker, another one every few seconds
    asked         `leave` or `kill`, written by the worker
    node          a sign of life of this program, and the machine that it runs on
    ended         the exit status of the process
    up, down      the bytes of a connection between the process and its worker (to the caps of judges), to each side

Without a sign of the worker the process is asked to leave, and then ended: by then the worker's job is another's. It
is also ended with this program, and this program with its directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefloop.child_env import child_environment
from workers import processes

TASK, TOLD, WORKER, ASKED, NODE, ENDED, UP, DOWN = "task.json", "told", "worker", "asked", "node", "ended", "up", "down"
LEAVE, KILL = "leave", "kill"
LOOK_SECONDS = 0.1
SIGN_SECONDS = 2.0
LEAVING_SECONDS = 80.0  # before the time limit, of which submitit tells 90 seconds ahead
NOT_HERE = 78  # EX_CONFIG: the exit status of a node that does not have the directory


class Signs:
    """Gives signs of life in one file, and looks for those of the other side in another.

    A sign is new if it is different: the clocks of two machines, and of the disk between them, need not agree.
    """

    def __init__(self, ours: Path, theirs: Path) -> None:
        self._ours, self._theirs = ours, theirs
        self._given, self._seen, self._heard = float("-inf"), "", time.monotonic()

    def give(self, words: str = "") -> None:
        if time.monotonic() - self._given >= SIGN_SECONDS:
            self._given = time.monotonic()
            write(self._ours, f"{uuid.uuid4().hex} {words}")

    def silent(self) -> float:
        """For how many seconds there was no new sign from the other side."""
        if (now := read(self._theirs)) not in ("", self._seen):
            self._seen, self._heard = now, time.monotonic()
        return time.monotonic() - self._heard


class Pipe:
    """One side of a connection through two files: what the socket brings is added to one, the other's goes into it."""

    def __init__(self, link: socket.socket, *, out: Path, into: Path) -> None:
        self.link, self._out, self._into, self._at = link, out, into, 0
        link.setblocking(False)

    def carry(self) -> None:
        """Move what there is. A side that is gone leaves its file as it is."""
        with contextlib.suppress(OSError):
            while part := self.link.recv(65_536):
                with self._out.open("ab") as file:
                    file.write(part)
        with contextlib.suppress(FileNotFoundError), self._into.open("rb") as file:
            file.seek(self._at)
            while part := file.read(4096):
                try:
                    sent = self.link.send(part)
                except OSError:
                    return
                self._at += sent
                file.seek(self._at)


class Program:
    """This program as submitit starts it, which calls `checkpoint` when the job's time is up or its node is wanted."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self._process = subprocess.Popen(self._command)  # noqa: S603 - our own line
        return self._process.wait()

    def checkpoint(self) -> None:
        """Let the process write its checkpoint and leave. None: nothing is left to be queued again, the worker does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(LEAVING_SECONDS)

    __submitit_checkpoint__ = checkpoint  # its name from submitit 1.6 on


def write(path: Path, text: str) -> None:
    """Write a file at once, for its owner alone."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def read(path: Path) -> str:
    """Read a file; "" where there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def run(directory: Path) -> int:
    """Run the process to its end and return its exit status."""
    leave: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):  # the cluster takes its machine back, or time is up
        signal.signal(number, lambda received, _frame: leave.append(received))
    try:
        task = json.loads((directory / TASK).read_text("utf-8"))
    except FileNotFoundError:
        print(f"{directory} is not on {socket.gethostname()}: the nodes and the workers need a common disk")  # noqa: T201
        return NOT_HERE
    if read(directory / ASKED) or not (directory / TOLD).exists():  # the cluster has started it once before
        return _end(directory, -signal.SIGKILL)
    signs = Signs(directory / NODE, directory / WORKER)
    signs.give(socket.gethostname())
    told = (directory / TOLD).read_bytes()
    (directory / TOLD).unlink()
    process, pipe = _start(directory, task, told)
    told_at: float | None = None  # to leave
    while process.poll() is None:
        signs.give(socket.gethostname())
        silent, asked = signs.silent() > task["silence"], read(directory / ASKED)
        if pipe is not None:
            pipe.carry()
        if told_at is None and (leave or silent or asked == LEAVE):
            told_at = time.monotonic()
            process.terminate()
        is_late = told_at is not None and silent and time.monotonic() > told_at + task["silence"]
        if asked == KILL or is_late or not directory.exists():
            processes.stop(process, grace_seconds=0)
        time.sleep(LOOK_SECONDS)
    processes.stop(process, grace_seconds=0)  # what it may have started
    return _end(directory, process.returncode)


def _start(directory: Path, task: Mapping[str, Any], told: bytes) -> tuple[subprocess.Popen[bytes], Pipe | None]:
    numbers: tuple[int, ...] = ()
    pipe = None
    if task["link"] is not None:
        number = int(task["link"])
        ours, theirs = (_above(number, one) for one in socket.socketpair())
        os.dup2(theirs.fileno(), number)
        theirs.close()
        pipe, numbers = Pipe(ours, out=directory / UP, into=directory / DOWN), (number,)
    with Path(task["log"]).open("ab") as log:
        process = processes.start(
            [sys.executable, *task["arguments"]],
            env=child_environment(os.environ) | task["environment"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=numbers,
        )
    for number in numbers:
        os.close(number)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(told)
    return process, pipe


def _above(number: int, link: socket.socket) -> socket.socket:
    """Move an open socket out of the way of a number."""
    with link:
        return socket.socket(fileno=fcntl.fcntl(link.fileno(), fcntl.F_DUPFD_CLOEXEC, number + 1))


def _end(directory: Path, status: int) -> int:
    with contextlib.suppress(FileNotFoundError):  # the worker that wanted to know has gone
        write(directory / ENDED, str(status))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
