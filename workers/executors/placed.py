"""The process of a training run on a node of a cluster, where `workers/node.py` starts it.

A cluster only says where that program runs. What the worker and the process tell each other goes through a directory
on a disk that both have, so that it is the same for every cluster; secrets lie there in a file of mode 600, in a
directory of mode 700, until the node has read it. They are never in what the cluster is told, which it may show.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.conf import settings

from apps.core.store import home
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobFailure
from workers.executors import Place, Task
from workers.node import ASKED, DOWN, ENDED, KILL, LEAVE, LOOK_SECONDS, NODE, TASK, TOLD, UP, WORKER, Pipe, Signs
from workers.node import read as read_file
from workers.node import write as write_file

JOB = "job"  # the file in which a place holds its job's name in the cluster
CLUSTER_SECONDS = 2.0  # between two questions to the cluster
LATE_SECONDS = 10.0  # that a file may take from one machine to another
SILENT_SECONDS = 60.0  # after which a node that says nothing is given up
SAID = 600  # characters of what a cluster says of a job that has ended
GONE_SECONDS = 60.0  # to see a process end that was killed


class ClusterError(Exception):
    """The cluster does not answer, or refuses; the text says why."""


@dataclass(frozen=True, slots=True)
class State:
    """What a cluster says of a job."""

    is_over: bool
    words: str


class Cluster(Protocol):
    """A scheduler that starts programs on its machines."""

    name: str

    def submit(self, name: str, command: list[str], task: Task, folder: Path) -> str:
        """Have a program started with the cards, cores and memory that the task wants; return its job's name there.

        `folder`: for what the cluster itself writes. Raises ClusterError.
        """
        ...

    def state(self, job: str, folder: Path) -> State:
        """Ask how a job is. Raises ClusterError."""
        ...

    def cancel(self, job: str, folder: Path) -> None:
        """Have a job ended, or taken from the queue; one that is over is left. Raises ClusterError."""
        ...

    def page(self, job: str) -> str: ...


def place_and_start(cluster: Cluster, task: Task) -> Placed:
    """Start the process, after whatever an earlier worker has left of this run has ended.

    Raises JobFailure where the cluster does not take it.
    """
    places = home() / "places"
    places.mkdir(mode=0o700, exist_ok=True)
    for earlier in sorted(places.glob(f"{task.name}.*")):
        _end_earlier(cluster, earlier)
    directory = places / f"{task.name}.{uuid.uuid4().hex[:12]}"
    directory.mkdir(mode=0o700)
    try:
        return Placed(cluster, task, directory)
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, ClusterError):
            raise JobFailure(FailureClass.WORKER_LOST, f"{cluster.name}: {error}", retry=True) from error
        raise


class Placed:
    """The process, until it has ended: then its place is removed."""

    def __init__(self, cluster: Cluster, task: Task, directory: Path) -> None:
        self.returncode: int | None = None
        self.lost = ""
        self.waiting = f"a place in {cluster.name}"
        self._cluster, self._directory = cluster, directory
        self._signs = Signs(directory / WORKER, directory / NODE)
        self._link = task.link
        self._pipe = None if task.link is None else Pipe(task.link, out=directory / DOWN, into=directory / UP)
        self._asked_at = self._over_at = float("-inf")
        write_file(directory / TOLD, (task.told or b"").decode("utf-8"))
        write_file(
            directory / TASK,
            json.dumps({
                "arguments": [*task.program, *task.arguments],
                "environment": dict(task.env),
                "log": str(task.log),
                "link": None if task.link is None else task.link.fileno(),
                "silence": settings.JOB_LEASE_SECONDS / 3,
            }),
        )  # fmt: skip
        self._signs.give()
        command = [settings.NODE_PYTHON or sys.executable, "-m", "workers.node", str(directory)]
        self._job = cluster.submit(directory.name, command, task, directory)
        write_file(directory / JOB, self._job)
        self.place = Place(f"{cluster.name} job {self._job}", cluster.page(self._job))
        self._over = threading.Event()
        threading.Thread(target=self._tell, name="place", daemon=True).start()

    def poll(self) -> int | None:
        if self.returncode is None:
            self._look()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if (left := until - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(self._job, timeout or 0.0)
            time.sleep(min(LOOK_SECONDS, left))
        return status

    def leave(self) -> None:
        if self.waiting:  # it has not begun
            self.kill()
        elif self.returncode is None:
            write_file(self._directory / ASKED, LEAVE)

    def kill(self) -> None:
        if self.poll() is None:
            if not _ended(self._cluster, self._directory):
                self.lost = f"{self._cluster.name} job {self._job} does not end"
            self._end(_status(self._directory))

    def _look(self) -> None:
        if (self._directory / ENDED).exists():
            self._end(_status(self._directory))
            return
        if self.waiting and (self._directory / NODE).exists():
            self.waiting = ""
        silent = self._signs.silent()
        now = time.monotonic()
        if now - self._asked_at >= CLUSTER_SECONDS:
            self._asked_at = now
            self._ask(now)
        if self.returncode is None and not self.waiting and silent > SILENT_SECONDS:
            self._lose(f"its node was not heard for {SILENT_SECONDS:.0f} s")

    def _ask(self, now: float) -> None:
        try:
            state = self._cluster.state(self._job, self._directory)
        except ClusterError as error:
            if self.waiting:
                self.waiting = str(error)
            return
        if not state.is_over:
            if self.waiting:
                self.waiting = f"a place in {self._cluster.name}: {state.words}"
            return
        if self._over_at < 0:
            self._over_at = now
        if now - self._over_at >= LATE_SECONDS or not (self._directory / NODE).exists():
            self._lose(state.words)

    def _lose(self, why: str) -> None:
        with suppress(ClusterError):
            self._cluster.cancel(self._job, self._directory)
        if (self._directory / ENDED).exists():
            self._end(_status(self._directory))
            return
        self.lost = f"{self._cluster.name} job {self._job} was lost: {why}"
        self._end(-signal.SIGKILL)

    def _end(self, status: int) -> None:
        self.returncode, self.waiting = status, ""
        self._over.set()
        if self._link is not None:
            self._link.close()
        shutil.rmtree(self._directory, ignore_errors=True)  # a node that lives after all ends its process then

    def _tell(self) -> None:
        """Give signs of life, and carry what the process and this worker have to say about caps."""
        while not self._over.wait(LOOK_SECONDS):
            with suppress(OSError):  # the place was removed meanwhile, or the disk is full
                self._signs.give()
                if self._pipe is not None:
                    self._pipe.carry()


def command_line(command: list[str]) -> str:
    """A program's command for a shell, in the directory in which a checkout has its modules."""
    return f"cd {shlex.quote(str(settings.BASE_DIR))} && exec {shlex.join(command)}"


def _status(directory: Path) -> int:
    return int(read_file(directory / ENDED) or -signal.SIGKILL)


def _end_earlier(cluster: Cluster, directory: Path) -> None:
    """End what a worker before has left: one that was killed, or lost its job."""
    if not _ended(cluster, directory):
        raise JobFailure(
            FailureClass.WORKER_LOST, f"an earlier process of this run does not end: {directory}", retry=True
        )
    shutil.rmtree(directory, ignore_errors=True)


def _ended(cluster: Cluster, directory: Path) -> bool:
    """Kill the process of a place; return whether it has ended."""
    write_file(directory / ASKED, KILL)
    job, until = read_file(directory / JOB), time.monotonic() + GONE_SECONDS
    signs = Signs(directory / WORKER, directory / NODE)
    while time.monotonic() < until:
        if (directory / ENDED).exists():
            return True
        try:
            if (directory / NODE).exists() and signs.silent() < LATE_SECONDS:
                continue  # it hears what was asked, and says how it ended
            if not job:
                return True  # nobody knows of it; should it still begin, it finds no place
            if cluster.state(job, directory).is_over:
                return True
            cluster.cancel(job, directory)
        except ClusterError:
            pass
        finally:
            time.sleep(LOOK_SECONDS)
    return False
