"""A process that has done its imports and forks one child for each task, and the caller's handle on a child.

A fresh interpreter needs a quarter of a second of processor time for what reads a file, and three seconds for what
trains a model; a fork of a process that has imported it needs a few milliseconds. A nursery is a fresh interpreter with
an environment that its owner chose. It has one thread of ours, no open files except its sockets, and no data of any
task: it passes open files on and forks. It ends with the process that started it, and its children end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import orjson

_ROOT = str(Path(__file__).resolve().parent.parent)
_END_SECONDS = 10.0  # for a nursery that was told to end
_MOST_FILES = 8  # that a child is given
_HIGH = 200  # files that a child is given are moved above this number first, out of each other's way


# --- the caller's side -----------------------------------------------------------------------------------------------


class Nursery:
    """The process, started for its first task; one that has ended is started again.

    `entry` is a function "module:name" that a child calls with its task and the numbers of its open files; the child
    ends with the status that it returns. `isolated`: the interpreter reads no setting of the environment.
    """

    def __init__(self, entry: str, environment: Mapping[str, str], *, isolated: bool = False):
        self._entry = entry
        self._environment = dict(environment)
        self._isolated = isolated
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        _all.add(self)

    def fork(self, modules: Sequence[str], files: Sequence[int], task: Mapping[str, Any] | None = None) -> Life:
        """Ask for a child that has imported `modules` and owns copies of the open `files`. It comes up by itself, or
        its life ends without a status.
        """
        message = orjson.dumps({"modules": list(modules), "entry": self._entry, "task": dict(task or {})})
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._send(message, [*files, theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return Life(ours)

    def _send(self, message: bytes, files: list[int]) -> None:
        with self._lock:
            if self.process is not None and self.process.poll() is not None:
                self._close()
            for _ in range(2):  # it may end between two of our looks
                control = self._control or self._start()
                with contextlib.suppress(ConnectionError):
                    socket.send_fds(control, [message], files)
                    return
                self._close()

    def _start(self) -> socket.socket:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = f"import sys; sys.path.insert(0, {_ROOT!r}); from prefloop.nursery import keep; keep()"
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, *(["-I", "-B"] if self._isolated else []), "-c", start],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
                process_group=0,
            )
        return self._control

    def close(self) -> None:
        """End the process and its children; a later task starts it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        control, self._control = self._control, None
        process, self.process = self.process, None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _forget(self) -> None:
        """In a fork of the caller: the process is the other's, and ends when that one has closed its socket."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
        if self.process is not None:
            self.process.returncode = 0  # not a child of this process
        self._control = self.process = None


class Life:
    """The caller's end of a child's life. Only the nursery knows the child's process id, which can't become another's
    before the nursery has reaped it.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def fileno(self) -> int:
        return self._line.fileno()

    def status(self, seconds: float | None) -> int | None:
        """Wait for the child's end and give it as `subprocess` does (-9: by SIGKILL); None where nobody knows: the
        nursery has ended too, or could not fork. Raises TimeoutError.
        """
        self._line.settimeout(seconds)
        try:
            said = self._line.recv(16)
        except (TimeoutError, BlockingIOError):  # the latter where no second is given
            raise TimeoutError from None
        except OSError:
            return None
        return int(said) if said else None

    def signal(self, number: int) -> None:
        """Send a signal to the child; nothing happens if it has ended."""
        with contextlib.suppress(OSError):
            self._line.send(str(int(number)).encode())

    def end(self) -> None:
        """Have the child killed, with the processes that it started."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._line.close()


_all: weakref.WeakSet[Nursery] = weakref.WeakSet()


def _close_all() -> None:
    for nursery in list(_all):
        nursery.close()


def _forget_all() -> None:
    for nursery in list(_all):
        nursery._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)


# --- the nursery's side ----------------------------------------------------------------------------------------------


def keep() -> None:
    """Fork a child for each message on standard input, which is a socket; say how each ended. Until the socket ends."""
    control = socket.socket(fileno=0)
    children: dict[int, tuple[int, socket.socket]] = {}  # by the file that says that the child has ended
    lives: dict[int, tuple[int, socket.socket]] = {}  # by the number of the line to the child's caller
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for file, _ in poll.poll():
            if file == control.fileno():
                if not _take(control, children, lives, poll):
                    for pid, _line in lives.values():
                        _end(pid)
                    os._exit(0)
            elif file in children:
                pid, line = children.pop(file)
                _end(pid)  # what it may have started, while its number is its own
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                del lives[line.fileno()]
                for other in (file, line.fileno()):
                    with contextlib.suppress(KeyError):
                        poll.unregister(other)
                with contextlib.suppress(OSError):
                    line.send(str(status).encode())
                line.close()
                os.close(file)
            elif file in lives:
                _obey(*lives[file], poll)


def _obey(pid: int, line: socket.socket, poll: select.poll) -> None:
    """Send the child the signal that its caller wants; a caller that is done with it, or gone, wants its end."""
    try:
        said = line.recv(16)
    except OSError:
        said = b""
    if said:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, int(said))
    else:
        poll.unregister(line)
        _end(pid)


def _take(
    control: socket.socket,
    children: dict[int, tuple[int, socket.socket]],
    lives: dict[int, tuple[int, socket.socket]],
    poll: select.poll,
) -> bool:
    """Fork one child; says whether there was a message."""
    message, files, _, _ = socket.recv_fds(control, 1 << 20, _MOST_FILES)
    if not message:
        return False
    *given, life = files
    wanted = orjson.loads(message)
    with contextlib.suppress(Exception):  # the child tries again, and its caller is told
        for module in [*wanted["modules"], wanted["entry"].partition(":")[0]]:
            importlib.import_module(module)
    try:
        pid = os.fork()
    except OSError:  # too many processes: the caller sees the life ended
        pid = -1
    if pid == 0:
        _be_child(wanted["entry"], wanted["task"], given)
    for file in given:
        os.close(file)
    line = socket.socket(fileno=life)
    if pid < 0:
        line.close()
        return True
    with contextlib.suppress(OSError):  # the child does it too: whoever comes first
        os.setpgid(pid, pid)
    file = os.pidfd_open(pid)
    children[file] = pid, line
    lives[life] = pid, line
    poll.register(file, select.POLLIN)
    poll.register(life, select.POLLIN)
    return True


def _be_child(entry: str, task: dict[str, Any], files: list[int]) -> NoReturn:
    status = 1
    try:
        os.setpgid(0, 0)
        _end_with_parent()
        given = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _HIGH) for file in files]
        for low, high in zip([2, *given], [*given, os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(low + 1, high)
        module, _, name = entry.partition(":")
        status = getattr(importlib.import_module(module), name)(task, given)
    except BaseException:  # noqa: BLE001 - nothing of the child's may reach the nursery's own code
        import traceback

        with contextlib.suppress(Exception):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(status)


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
