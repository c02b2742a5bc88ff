"""Nodes of a Ray cluster on this machine, each of which can be killed with everything that it runs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from tests.faults.processes import offspring


class Nodes:
    """`cores`: of the head, which runs nothing without one."""

    def __init__(self, cores=0):
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets of Ray have short paths
        self.processes = []
        for _ in range(3):  # on a busy machine one of its servers may begin too late, and it ends
            port, dashboard, client = free_ports(3)  # the client's is the same for every cluster unless it is given
            self.address, self._gcs = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
            head = ("--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--num-cpus={cores}")
            self._start(*head, f"--ray-client-server-port={client}")
            if self._is_up(client):
                return
            self.lose_newest()
        raise AssertionError(f"Ray does not start\n{self.log()}")

    def _is_up(self, client):
        """Wait until the job server answers, and the client's server, which is the last to begin."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self.processes[0].poll() is None:
            try:
                JobSubmissionClient(self.address)
                socket.create_connection(("127.0.0.1", client), 5).close()
                return True
            except (OSError, RuntimeError):
                time.sleep(0.5)
        return False

    def add(self):
        """Add a node with one core."""
        self._start(f"--address={self._gcs}", "--num-cpus=1")

    def _start(self, *arguments):
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", f"--temp-dir={self.folder}"]
        command += [f"--dashboard-agent-listen-port={free_ports(1)[0]}"]  # else one for all nodes of a machine
        with (Path(self.folder) / f"node-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "RAY_USAGE_STATS_ENABLED": "0",
                    "RAY_memory_monitor_refresh_ms": "0",  # others use this machine's memory too
                },
            )
        self.processes.append(process)

    def lose_newest(self):
        """As a machine that loses power does: all of its processes at once."""
        process = self.processes.pop()
        for one in [process.pid, *offspring(process.pid)]:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()

    def log(self):
        return "\n".join(path.read_text()[-1500:] for path in sorted(Path(self.folder).glob("node-*.log")))


@contextmanager
def ray_nodes(cores=0):
    nodes = Nodes(cores)
    try:
        yield nodes
    finally:
        while nodes.processes:
            nodes.lose_newest()
        shutil.rmtree(nodes.folder, ignore_errors=True)


def free_ports(n):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
