"""The child process of `prefloop.confined`: it limits itself, then answers calls to one function."""

from __future__ import annotations

import importlib
import os
import resource
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

from prefloop.types import PrefloopError

# A frame, in both directions: what follows, its length in bytes, and that many bytes.
HEAD = struct.Struct(">cI")
READY, JSON, BYTES, END, REFUSED, MEMORY, DEEP, FAULT = b"S", b"J", b"B", b"E", b"R", b"M", b"D", b"F"
MB = 1 << 20


def begin(task: dict[str, Any], files: list[int]) -> int:
    """Serve a caller that reads and writes at the other ends of these two pipes; for the nursery that forked us."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    serve()
    return 0


def serve() -> None:
    """Receive one function, then calls to it until the caller closes the pipe."""
    source, out = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", 1 << 18)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # a library that prints must not speak into the answers
    task = _read(source)
    module, _, name = task["function"].partition(":")
    for other in task["imports"]:
        importlib.import_module(other)
    function = getattr(importlib.import_module(module), name)
    limits = task["limits"]
    for which in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(which, (0, 0))
    space = _address_space() + limits["memory_mb"] * MB
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    _say(out, READY, b"")
    out.flush()
    while (arguments := _read(source)) is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = int(used.ru_utime + used.ru_stime) + limits["cpu_seconds"] + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
        fatal = _answer(function, arguments, out, single=task["single"])
        out.flush()
        if fatal:
            os._exit(1)


def _answer(function: Callable[..., Any], arguments: list[Any], out: BinaryIO, *, single: bool) -> bool:
    """Call the function and send its result; return whether the process can't continue."""
    try:
        given = function(*arguments)
        for value in [given] if single else given:
            payload, kind = (value, BYTES) if isinstance(value, bytes) else (orjson.dumps(value), JSON)
            out.write(HEAD.pack(kind, len(payload)))
            out.write(payload)
        _say(out, END, b"")
    except PrefloopError as error:
        text = str(error).encode("utf-8", "replace").decode()
        refused = [type(error).__module__, type(error).__qualname__, text]
        _say(out, REFUSED, orjson.dumps(refused))
    except MemoryError:
        _say(out, MEMORY, b"")
        return True
    except RecursionError:
        _say(out, DEEP, b"")
        return True
    except Exception:  # noqa: BLE001 - whatever broke is told to the caller
        import traceback

        _say(out, FAULT, traceback.format_exc(limit=-20)[-8000:].encode("utf-8", "replace"))
        return True
    return False


def _say(out: BinaryIO, kind: bytes, payload: bytes) -> None:
    out.write(HEAD.pack(kind, len(payload)))
    out.write(payload)


def _read(source: BinaryIO) -> Any:
    """Read one frame; None if the caller is gone."""
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    payload = source.read(HEAD.unpack(head)[1])
    return orjson.loads(payload)


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
