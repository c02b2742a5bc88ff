"""What was measured on this machine, kept in one file so that every process gives the same answer. Torch-free.

The file lies in the product's directory (PREFLOOP_VAR). A measurement holds for one processor, one version of torch and
one number of threads; with any other of them it is made anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from typing_extensions import Generator

VARIABLE = "PREFLOOP_VAR"  # of the environment: the product's directory
FILE = "measured.json"
# instructions that decide how fast numbers of a type are multiplied; machines of one name may have them or not
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def machine(threads: int) -> str:
    """Name what a measurement holds for: the processor, torch's version, and the number of threads."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "absent"
    return f"{processor()}, torch {torch}, threads {threads}"


def processor() -> str:
    """Name the processor and those of its instructions that matter here."""
    said: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip().lower(), value.strip())
            if not name.strip():
                break  # the first core speaks for all
    except OSError:
        pass
    flags = (said.get("flags") or said.get("features") or "").split()
    name = said.get("model name") or platform.processor() or platform.machine()
    return " ".join([name, *(flag for flag in _FLAGS if flag in flags)])


def remembered(folder: Path, name: str, *, threads: int) -> dict[str, Any] | None:
    """Return what was measured under this name on this machine, None if nothing was."""
    found = _read(folder / FILE).get(machine(threads), {}).get(name)
    return found if isinstance(found, dict) else None


def measured_once(
    folder: Path | None, name: str, measure: Callable[[], Mapping[str, Any]], *, threads: int
) -> dict[str, Any]:
    """Return what was measured under this name, or measure and keep it. Processes that ask at the same time wait for
    the first. Without a folder nothing is kept.
    """
    if folder is None:
        return dict(measure())
    with _held(folder):
        found = remembered(folder, name, threads=threads)
        if found is None:
            found = dict(measure())
            keep(folder, name, found, threads=threads)
        return found


def keep(folder: Path, name: str, values: Mapping[str, Any], *, threads: int) -> None:
    """Write a measurement; one with the same name is replaced."""
    path = folder / FILE
    everything = _read(path)
    everything.setdefault(machine(threads), {})[name] = dict(values)
    temporary = path.with_name(f"{FILE}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(everything, indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8")
    temporary.replace(path)


@contextmanager
def _held(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{FILE}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read the file; one that is missing or damaged holds nothing, and is written anew."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: values for key, values in found.items() if isinstance(values, dict)}
