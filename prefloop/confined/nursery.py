"""A small process from which `prefloop.confined` forks one child for each task, and the caller's handle on a child.

A fresh interpreter needs a quarter of a second of processor time for its imports, a fork of a process that has done
them a few milliseconds. Each process that reads untrusted bytes starts one nursery, for its first task. The nursery is
a fresh interpreter with an environment of its own, one thread, no open files except its sockets, and only our modules
in memory. It never reads a task: it passes the pipes on and forks, so a child has no data of earlier tasks. The nursery
ends with the process that started it, and its children end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import orjson

_ROOT = str(Path(__file__).resolve().parent.parent.parent)
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


# --- the caller's side -----------------------------------------------------------------------------------------------


class Forked:
    """One child: the pipe to it (`stdin`), the pipe from it (`stdout`), and its end.

    Only the nursery knows its process id, which can't become another's before the nursery has reaped it.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        """Ask the nursery for a child that has imported `modules`; it comes up by itself, or closes its pipes."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self.stdin = open(ours_in, "wb", buffering=0)  # noqa: SIM115 - `end` closes them
        self.stdout = open(ours_out, "rb", buffering=0)  # noqa: SIM115
        self._life, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ended = False
        try:
            with theirs, open(theirs_in, "rb", 0), open(theirs_out, "wb", 0):
                _ask_for_child(modules, [theirs_in, theirs_out, theirs.fileno()])
        except BaseException:
            self.end()
            raise

    def wait(self) -> int | None:
        """Wait for a child that has closed its pipes, and give how it ended as `subprocess` does (-9: by SIGKILL).

        None where nobody knows: the nursery has ended too, or could not fork.
        """
        status = self._status()
        self.end()
        return status

    def end(self) -> None:
        """End the child with its process group, and wait until it is gone. Close the pipes."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):
                self._life.shutdown(socket.SHUT_WR)
                self._status()
            self._life.close()
            self.stdin.close()
            self.stdout.close()

    def _status(self) -> int | None:
        self._life.settimeout(_END_SECONDS)
        try:
            said = self._life.recv(16)
        except OSError:  # it has closed its pipes and goes on
            return None
        return int(said) if said else None


class _Nursery:
    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = f"import sys; sys.path.insert(0, {_ROOT!r}); from prefloop.confined.nursery import keep; keep()"
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-I", "-B", "-c", start],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                process_group=0,
            )

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_nursery: _Nursery | None = None


def _ask_for_child(modules: Sequence[str], files: list[int]) -> None:
    global _nursery
    with _lock:
        if _nursery is not None and _nursery.process.poll() is not None:
            _close()
        for _ in range(2):  # it may end between two of our looks
            _nursery = _nursery or _Nursery()
            with contextlib.suppress(ConnectionError):
                socket.send_fds(_nursery.control, [orjson.dumps(list(modules))], files)
                return
            _close()


@atexit.register
def _close() -> None:
    global _nursery
    nursery, _nursery = _nursery, None
    if nursery is not None:
        nursery.close()


def _forget() -> None:
    """In a fork of the caller: the nursery is the other process's, and ends when that one has closed its socket."""
    global _nursery, _lock
    nursery, _nursery, _lock = _nursery, None, threading.Lock()
    if nursery is not None:
        nursery.control.close()
        nursery.process.returncode = 0  # not a child of this process


os.register_at_fork(after_in_child=_forget)


# --- the nursery's side ----------------------------------------------------------------------------------------------


def keep() -> None:
    """Fork a child for each message on standard input, which is a socket; say how each ended. Until the socket ends."""
    control = socket.socket(fileno=0)
    children: dict[int, tuple[int, socket.socket]] = {}  # by the file that says that the child has ended
    lives: dict[int, int] = {}  # process ids, by the socket of the child's caller
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for file, _ in poll.poll():
            if file == control.fileno():
                if not _take(control, children, lives, poll):
                    for pid in lives.values():
                        _end(pid)
                    os._exit(0)
            elif file in children:
                pid, life = children.pop(file)
                _end(pid)  # what it may have started, while its number is its own
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                del lives[life.fileno()]
                for other in (file, life.fileno()):
                    with contextlib.suppress(KeyError):
                        poll.unregister(other)
                with contextlib.suppress(OSError):
                    life.send(str(status).encode())
                life.close()
                os.close(file)
            elif file in lives:  # its caller is done with it, or gone
                poll.unregister(file)
                _end(lives[file])


def _take(
    control: socket.socket, children: dict[int, tuple[int, socket.socket]], lives: dict[int, int], poll: select.poll
) -> bool:
    """Fork one child; says whether there was a message."""
    message, files, _, _ = socket.recv_fds(control, 1 << 16, 3)
    if not message:
        return False
    source, out, life = files
    with contextlib.suppress(Exception):  # the child tries again, and its caller is told
        for module in orjson.loads(message):
            importlib.import_module(module)
    try:
        pid = os.fork()
    except OSError:  # too many processes: the caller sees the pipes closed
        pid = -1
    if pid == 0:
        _be_child(source, out)
    os.close(source)
    os.close(out)
    caller = socket.socket(fileno=life)
    if pid < 0:
        caller.close()
        return True
    with contextlib.suppress(OSError):  # the child does it too: whoever comes first
        os.setpgid(pid, pid)
    file = os.pidfd_open(pid)
    children[file] = pid, caller
    lives[life] = pid
    poll.register(file, select.POLLIN)
    poll.register(life, select.POLLIN)
    return True


def _be_child(source: int, out: int) -> None:
    try:
        os.setpgid(0, 0)
        _end_with_parent()
        os.dup2(source, 0)
        os.dup2(out, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        from prefloop.confined.child import serve

        serve()
        os._exit(0)
    finally:
        os._exit(1)


def _end_with_parent() -> None:
    """Let the kernel end this process when the nursery ends, whatever ended that."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    nursery = os.getppid()
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != nursery:
        os._exit(1)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
