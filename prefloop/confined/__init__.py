"""Run a function over untrusted bytes in a separate process, with limits on memory, time and output.

Parsing an untrusted file, configuration or template can need any amount of memory or time. So it runs in a process of
its own, forked from one with only our modules in memory, no secrets in its environment and no data of other tasks
(`prefloop.nursery`). The process sets these limits for itself before it reads any input:

- memory: RLIMIT_AS, the address space, `memory_mb` above what the process has after its imports. It is the one memory
  limit that Linux enforces for a single process without rights of its own (RLIMIT_RSS does nothing); an allocation that
  would pass it fails, and the process says so and ends. Allocators that reserve address space ahead are told not to.
- processor time: RLIMIT_CPU, at which the kernel ends the process. Time: as long as the caller has waited for it,
  leaving out what the caller does between two values.
- output: bytes sent to the caller, counted there. It can write no file (RLIMIT_FSIZE 0) and leaves no core.

    for value in stream(function, "path", limits=Limits(memory_mb=512), what="answers.jsonl"): ...
    value = call(function, "path")                       # one value
    with Helper(function) as helper: helper.ask(value)   # a process that stays, for many short calls

`function` stands at the top of a module that the child can import; it takes and gives what JSON can hold, or bytes. A
PrefloopError that it raises is raised here, of the same class with the same text (other attributes are not carried
over). It limits, and does not jail: the process has the rights of its user.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from prefloop.confined.child import BYTES, DEEP, END, HEAD, JSON, MB, MEMORY, READY, REFUSED
from prefloop.confined.forked import Forked
from prefloop.types import PrefloopError

_PIPE_BYTES = 1 << 20
_START_SECONDS = 30.0  # for its imports, on a machine that has much else to do


class LimitExceeded(PrefloopError):
    """Untrusted work that reached one of its limits and was ended."""


class NeedsTooMuchMemory(LimitExceeded):
    """It needs more memory than allowed."""


class TakesTooLong(LimitExceeded):
    """It takes more processor time, or more time, than allowed."""


class GivesTooMuch(LimitExceeded):
    """Its output is larger than allowed."""


class NestedTooDeeply(LimitExceeded):
    """It is nested deeper than Python supports."""


class ReaderFailed(PrefloopError):
    """The function raised an error, or its process died, on this input; the log has the details."""


class _NoProcess(ReaderFailed):
    """There is no process, for a reason that has nothing to do with what it was given."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call. Memory counts from what the process has after its imports."""

    memory_mb: int = 512
    cpu_seconds: int = 60
    wait_seconds: float = 120.0  # that the caller waits, in all
    output_bytes: int = 1 << 30  # in all
    value_bytes: int = 64 * MB  # of one value


DEFAULT = Limits()


def stream(
    function: Callable[..., Iterable[Any]],
    *arguments: Any,
    limits: Limits = DEFAULT,
    what: str = "this file",
    imports: Sequence[str] = (),
) -> Iterator[Any]:
    """Yield what the function yields. Ends the process if the caller leaves early.

    `what` begins the sentence of an error; `imports` names modules that the function imports by itself and whose memory
    shall not count. Raises LimitExceeded, ReaderFailed, and the function's own PrefloopErrors.
    """
    with _Child(function, limits, what=what, imports=imports) as child:
        child.send(list(arguments))
        yield from child.values()


def call(
    function: Callable[..., Any],
    *arguments: Any,
    limits: Limits = DEFAULT,
    what: str = "this file",
    imports: Sequence[str] = (),
) -> Any:
    """Return what the function returns. Raises what `stream` raises."""
    with _Child(function, limits, what=what, imports=imports, single=True) as child:
        child.send(list(arguments))
        return child.value()


class Helper:
    """A process that stays and calls one function repeatedly; each call has the limits for itself.

    A call that reaches a limit ends the process, and the next call starts another. One thread at a time.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        limits: Limits = DEFAULT,
        what: str = "this",
        imports: Sequence[str] = (),
    ) -> None:
        self._arguments = (function, limits, what, imports)
        self._child: _Child | None = None

    def ask(self, *arguments: Any) -> Any:
        """Return what the function returns. Raises what `stream` raises."""
        try:
            return self._ask(arguments)
        except _NoProcess:  # something has ended an idle process, or the one it was forked from, since the last call
            return self._ask(arguments)

    def _ask(self, arguments: Sequence[Any]) -> Any:
        if self._child is None:
            function, limits, what, imports = self._arguments
            self._child = _Child(function, limits, what=what, imports=imports, single=True)
        try:
            self._child.send(list(arguments))
            return self._child.value()
        except PrefloopError:
            if self._child.ended:
                self.close()
            raise
        except BaseException:  # an answer may still be on its way, and must not be taken for the next one
            self.close()
            raise

    def close(self) -> None:
        """End the process; a later call starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Child:
    """One process and the pipes to it. `ended`: it does not answer any more."""

    def __init__(
        self,
        function: Callable[..., Any],
        limits: Limits,
        *,
        what: str,
        imports: Sequence[str],
        single: bool = False,
    ) -> None:
        self._limits = limits
        self._what = what
        self._left = _START_SECONDS  # how much longer the caller waits
        self._ready = False
        self._n_bytes = 0
        self._buffer = bytearray()
        self.ended = False
        self._process = Forked([function.__module__, *imports])
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        with contextlib.suppress(OSError, AttributeError):  # more than its user may have: the usual size will do
            import fcntl

            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        name = f"{function.__module__}:{function.__qualname__}"
        self._write({"function": name, "imports": list(imports), "limits": asdict(limits), "single": single})

    def send(self, arguments: list[Any]) -> None:
        """Send the arguments of a call, whose limits start now."""
        if not self._ready:
            self._ready = self._frame()[0] == READY
        self._left, self._n_bytes = self._limits.wait_seconds, 0
        self._write(arguments)

    def values(self) -> Iterator[Any]:
        """Yield the values of the call until its end."""
        while True:
            kind, payload = self._frame()
            if kind == JSON:
                yield orjson.loads(payload)
            elif kind == BYTES:
                yield payload
            elif kind == END:
                return
            else:
                raise self._error(kind, payload)

    def value(self) -> Any:
        """Return the only value of the call."""
        (value,) = self.values()
        return value

    def _error(self, kind: bytes, payload: bytes) -> PrefloopError:
        if kind == REFUSED:
            return _refusal(*orjson.loads(payload))
        self.ended = True
        if kind == MEMORY:
            return NeedsTooMuchMemory(f"{self._what} needs more than {self._limits.memory_mb:,} MB of memory")
        if kind == DEEP:
            return NestedTooDeeply(f"{self._what} is nested too deeply to be read")
        import logging

        text = payload.decode("utf-8", "replace")
        logging.getLogger(__name__).error("a confined function broke on %s:\n%s", self._what, text)
        return ReaderFailed(f"{self._what} could not be read ({text.strip().splitlines()[-1][:200]})")

    def _frame(self) -> tuple[bytes, bytes]:
        self._fill(HEAD.size)
        kind, n_bytes = HEAD.unpack_from(self._buffer)
        self._n_bytes += n_bytes
        if n_bytes > self._limits.value_bytes or self._n_bytes > self._limits.output_bytes:
            self.close()
            limit = self._limits.value_bytes if n_bytes > self._limits.value_bytes else self._limits.output_bytes
            raise GivesTooMuch(f"{self._what} becomes larger than {limit // MB:,} MB when it is read")
        self._fill(HEAD.size + n_bytes)
        payload = bytes(memoryview(self._buffer)[HEAD.size : HEAD.size + n_bytes])
        del self._buffer[: HEAD.size + n_bytes]
        return kind, payload

    def _fill(self, n_bytes: int) -> None:
        while len(self._buffer) < n_bytes:
            self._wait(self._out, select.POLLIN)
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self._out, _PIPE_BYTES)
                if not piece:
                    raise self._died()
                self._buffer += piece

    def _write(self, value: Any) -> None:
        payload = orjson.dumps(value)
        rest = memoryview(HEAD.pack(JSON, len(payload)) + payload)
        while rest:
            self._wait(self._in, select.POLLOUT)
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._died() from None

    def _wait(self, pipe: int, event: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        before = time.monotonic()
        ready = self._left > 0 and poll.poll(self._left * 1000)
        self._left -= time.monotonic() - before
        if not ready:
            self.close()
            if not self._ready:
                raise ReaderFailed(f"{self._what} could not be read: the process for it did not start in time")
            raise TakesTooLong(f"{self._what} takes more than {self._limits.wait_seconds:g} seconds")

    def _died(self) -> PrefloopError:
        """Say what ended the process, if it sent no message."""
        self.ended = True
        status = self._process.wait()
        if status is None:
            return _NoProcess(f"{self._what} could not be read: no process for it came up, or it could not be watched")
        if status == -signal.SIGXCPU:
            return TakesTooLong(f"{self._what} takes more than {self._limits.cpu_seconds} seconds of processor time")
        if status == -signal.SIGKILL:  # not by us: the kernel was out of memory
            return NeedsTooMuchMemory(f"{self._what} needs more memory than this machine has")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        hint = ""
        if status in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):  # of libraries that ask for no answer
            hint = f"; it may need more than {self._limits.memory_mb:,} MB of memory"
        return ReaderFailed(f"{self._what} could not be read: the process that read it died ({how}){hint}")

    def close(self) -> None:
        """End the process with its group, and its pipes."""
        self.ended = True
        self._process.end()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refusal(module: str, name: str, text: str) -> PrefloopError:
    """Create the error that the child raised; only classes of our own, whatever the child says."""
    found: Any = PrefloopError
    if module.partition(".")[0] == "prefloop":
        found = getattr(importlib.import_module(module), name, PrefloopError)
    if not (isinstance(found, type) and issubclass(found, PrefloopError)):
        found = PrefloopError
    error: PrefloopError = found.__new__(found)
    error.args = (text,)
    return error
