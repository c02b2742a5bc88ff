"""Names of worker processes, and whether the process with such a name is still alive.

A name is `queue@host:pid:started`. `host` includes the PID namespace if there is one, so that containers with the same
host name do not consider each other's processes dead; `started` (clock ticks since boot) guards against a reused PID.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def host_name() -> str:
    name = socket.gethostname()[:60].replace(":", "-").replace("@", "-")
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # "pid:[4026531836]"
    except OSError:
        return name
    return f"{name}/{namespace.strip('pid:[]')}"


def worker_name(*, queue: str, pid: int | None = None) -> str:
    pid = os.getpid() if pid is None else pid
    return f"{queue}@{host_name()}:{pid}:{_started(pid) or 0}"


def worker_is_gone(name: str) -> bool:
    """True only if certain: the name is of this host, and no such process is alive."""
    place, _, rest = name.partition(":")
    if place.partition("@")[2] != host_name():
        return False
    pid_text, _, started_text = rest.partition(":")
    if not pid_text.isdigit():
        return False
    return not process_lives(pid=int(pid_text), started=int(started_text) if started_text.isdigit() else 0)


def process_lives(*, pid: int, started: int = 0) -> bool:
    if Path("/proc/self/stat").exists():
        now_started = _started(pid)
        return now_started is not None and started in (0, now_started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process; None if there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before ")" may hold spaces
    return None if fields[0] in ("Z", "X") else int(fields[19])
