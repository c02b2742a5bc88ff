"""Start the processes of a run on one machine, forward signals, and end all of them when one dies.

`accelerate launch` starts them on GPUs only (on CPUs it needs mpirun), and kills processes half a minute after telling
them to leave, while a large checkpoint may take longer.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prefloop.engine.online.judges import inherited
from prefloop.recipes.runspec import (
    EXIT_DONE,
    EXIT_LEFT,
    EXIT_OF_FAILURE,
    RunFailure,
    RunSpec,
    read_failure,
    write_failure,
)

_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 10.0  # for the others to say why they failed too, once one has


def launch(run_dir: Path, spec: RunSpec, *, should_leave: Callable[[], bool], told: str | None = None) -> int:
    """Run `spec.processes` processes to their end; return the exit code of the run.

    `told`: the line that the first process, which asks judges and servers, gets on its standard input.
    """
    children = [
        _start(run_dir, rank, spec.processes, port, told if rank == 0 else None)
        for port in [_free_port()]
        for rank in range(spec.processes)
    ]
    leaves = False
    deadline: float | None = None
    try:
        while any(child.poll() is None for child in children):
            if should_leave() and not leaves:
                leaves = True
                for child in children:
                    child.send_signal(signal.SIGTERM)
            if deadline is None and any(child.poll() not in (None, EXIT_DONE, EXIT_LEFT) for child in children):
                deadline = time.monotonic() + _GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break  # the others wait for one that is gone
            time.sleep(_LOOK_SECONDS)
    finally:
        codes = [child.poll() for child in children]
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
    # a process that was ended here did not fail itself: it waited for one that did
    return exit_code(run_dir, [EXIT_OF_FAILURE["internal"] if code is None else code for code in codes])


def exit_code(run_dir: Path, codes: list[int]) -> int:
    """Return how a run with these exit codes ended; a failure that nobody recorded is written to `failure.json`."""
    if all(code == EXIT_DONE for code in codes):
        return EXIT_DONE
    if codes[0] == EXIT_LEFT and all(code in (EXIT_DONE, EXIT_LEFT) for code in codes):
        return EXIT_LEFT
    failure = read_failure(run_dir)
    killed = next((rank for rank, code in enumerate(codes) if code == -signal.SIGKILL), None)
    if killed is not None and (failure is None or failure.failure_class == "internal"):
        # what the others say is that they lost it
        failure = RunFailure("out_of_memory", f"process {killed} was killed, most likely for memory")
        write_failure(run_dir, failure)
    elif failure is None:
        failure = RunFailure("internal", f"the processes ended with {', '.join(map(str, codes))}")
        write_failure(run_dir, failure)
    return EXIT_OF_FAILURE[failure.failure_class]


def _start(run_dir: Path, rank: int, size: int, port: int, told: str | None) -> subprocess.Popen[bytes]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
    # a child that outlives this process (a kill -9) writes a checkpoint and leaves
    command = [sys.executable, "-m", "prefloop.engine.train", "--leave-with-parent", str(run_dir)]
    if told is None:
        return subprocess.Popen(command, env=env)  # noqa: S603 - our own module
    command.insert(-1, "--connection-from-stdin")
    child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, pass_fds=inherited(told))  # noqa: S603
    if child.stdin is not None:
        with child.stdin:
            child.stdin.write(told.encode("utf-8"))
    return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
