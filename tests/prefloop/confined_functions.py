"""What the processes of test_confined.py are asked to do."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefloop.types import PrefloopError


def count(n: int) -> Iterator[int]:
    yield from range(n)


def sizes(n: int) -> Iterator[bytes]:
    for i in range(n):
        yield bytes(i)


def refuse_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise PrefloopError("line 3: prompt is missing")


def double(value: Any) -> Any:
    if value == "refuse":
        raise PrefloopError("no")
    if value == "spin":
        spin()
    return value * 2


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def allocate(n_mb: int) -> int:
    return len(bytearray(n_mb << 20))


def grow() -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def nest() -> None:
    nest()


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def broken() -> None:
    raise KeyError("prompt")


def large(n_mb: int) -> bytes:
    return bytes(n_mb << 20)


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 20)


def surroundings() -> dict[str, Any]:
    nursery = Path(f"/proc/{os.getppid()}")
    return {
        "nursery": os.getppid(),
        "nursery_at_start": (nursery / "environ").read_text(),
        "nursery_files": sorted(int(file.name) for file in (nursery / "fd").iterdir()),
        "nursery_threads": len(list((nursery / "task").iterdir())),
        "environment": dict(os.environ),
        "at_start": Path("/proc/self/environ").read_text(),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": len(os.listdir("/proc/self/fd")),
        "group": os.getpgrp() == os.getpid(),
    }


def remembers(word_backwards: str, *_: str) -> bool:
    """Whether a word is anywhere in the memory of this process, which is not to hold it because of this question."""
    word = re.compile("".join(f"[{letter}]" for letter in reversed(word_backwards)).encode())
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            place, rights = line.split()[:2]
            if rights.startswith("rw"):
                first, last = (int(part, 16) for part in place.split("-"))
                memory.seek(first)
                if word.search(memory.read(last - first)):
                    return True
    return False


def start_another() -> Iterator[int]:
    """Start a process in the group of this one, give both numbers, and end."""
    other = os.fork()
    if other == 0:
        time.sleep(600)
    yield from (os.getpid(), other)


def hide() -> None:
    os.closerange(0, 100)
    time.sleep(600)


def write(path: str) -> None:
    Path(path).write_text("something")


def say() -> int:
    print("a library that prints", flush=True)
    return 1


def processes() -> Iterator[int]:
    yield os.getpid()
    for _ in range(200_000):  # more than the buffers hold, so that the first goes out
        yield 0
    spin()


def work(seconds: float) -> int:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


def columns_of_text(path: str) -> list[str]:
    from prefloop.formats.registry import columns_of

    return columns_of(Path(path))
