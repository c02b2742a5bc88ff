"""Runs on a Slurm cluster, through submitit; with `cluster=local` in PREFLOOP_SLURM by submitit's own local executor.

submitit keeps the command that is to run, which holds no secret, as a pickle in the place's directory, which the
installation's user alone can read and write.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
from django.conf import settings

from prefloop.child_env import child_environment
from workers.executors import Process, Task
from workers.executors.placed import SAID, ClusterError, State, command_line, place_and_start
from workers.node import Program

DEFAULTS: dict[str, str | int] = {"timeout_min": 24 * 60}  # what is cut off then goes on in another job
GOING = ("RUNNING", "PENDING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "UNKNOWN")
_jobs: dict[str, submitit.Job[Any]] = {}
_environment = threading.Lock()


class Slurm:
    name = "Slurm"

    def submit(self, name: str, command: list[str], task: Task, folder: Path) -> str:
        wanted = {
            "name": name,
            "cpus_per_task": task.cores,
            **({"gpus_per_node": task.cards} if task.cards else {}),
            "mem_gb": max(1, -(-task.memory // 10**9)),
            "nodes": 1,
            "tasks_per_node": 1,
        }
        try:
            executor = submitit.AutoExecutor(folder=folder / "submitit", cluster=settings.SLURM_CLUSTER)
            executor.update_parameters(**(wanted | DEFAULTS | settings.SLURM_OPTIONS))
            with _without_secrets():  # sbatch hands its own environment on
                job = executor.submit(Program(["/bin/sh", "-c", command_line(command)]))
        except (submitit.core.utils.FailedSubmissionError, subprocess.CalledProcessError, OSError) as error:
            raise ClusterError(str(error)) from error
        except (RuntimeError, ValueError) as error:  # no srun here, or a parameter that it does not know
            raise ClusterError(str(error)) from error
        _jobs[job.job_id] = job
        return job.job_id

    def state(self, job: str, folder: Path) -> State:
        found = self._job(job, folder)
        said = found.state
        if said.partition(" ")[0].upper() in GOING:
            return State(is_over=False, words=said.lower())
        return State(is_over=True, words=f"{said.lower()} {_output(found)}".strip())

    def cancel(self, job: str, folder: Path) -> None:
        found = self._job(job, folder)
        try:
            found.cancel(check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise ClusterError(str(error)) from error

    def page(self, job: str) -> str:
        return ""

    def _job(self, job: str, folder: Path) -> submitit.Job[Any]:
        if job not in _jobs:
            kind = submitit.LocalJob if settings.SLURM_CLUSTER == "local" else submitit.SlurmJob
            _jobs[job] = kind(folder=folder / "submitit", job_id=job)
        return _jobs[job]


def start(task: Task) -> Process:
    return place_and_start(Slurm(), task)


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Take secrets, and the cards of this worker, out of this process's environment while a job is submitted."""
    with _environment:
        kept = child_environment(os.environ)
        kept.pop("CUDA_VISIBLE_DEVICES", None)
        taken = {name: os.environ.pop(name) for name in list(os.environ) if name not in kept}
        try:
            yield
        finally:
            os.environ.update(taken)


def _output(job: submitit.Job[Any]) -> str:
    said = "\n".join(filter(None, (job.stdout(), job.stderr())))
    return said.strip()[-SAID:]
