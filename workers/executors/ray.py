"""Runs on a Ray cluster, as Ray Jobs: a job is one program, on a node that has the cards, cores and memory it wants.

Ray's job server is asked over HTTP at PREFLOOP_RAY_ADDRESS, so the worker is no part of the cluster.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from ray.job_submission import JobSubmissionClient

from workers.executors import Process, Task
from workers.executors.placed import SAID, ClusterError, State, command_line, place_and_start


class Ray:
    name = "Ray"

    def submit(self, name: str, command: list[str], task: Task, folder: Path) -> str:
        try:
            return self._client().submit_job(
                entrypoint=command_line(command),
                submission_id=name,
                entrypoint_num_cpus=task.cores,
                entrypoint_num_gpus=task.cards,
                entrypoint_memory=task.memory or None,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ClusterError(_line(error)) from error

    def state(self, job: str, folder: Path) -> State:
        try:
            found = self._client().get_job_info(job)
        except (RuntimeError, OSError) as error:
            raise ClusterError(_line(error)) from error
        said = (found.message or "").strip()
        return State(is_over=found.status.is_terminal(), words=f"{found.status.value.lower()}: {said[-SAID:]}")

    def cancel(self, job: str, folder: Path) -> None:
        try:
            self._client().stop_job(job)
        except (RuntimeError, OSError) as error:
            raise ClusterError(_line(error)) from error

    def page(self, job: str) -> str:
        return f"{settings.RAY_DASHBOARD.rstrip('/')}/#/jobs/{job}"

    def _client(self) -> JobSubmissionClient:
        """Open the client anew: the head may have been started again. Raises ConnectionError, RuntimeError."""
        return JobSubmissionClient(settings.RAY_ADDRESS)


def start(task: Task) -> Process:
    return place_and_start(Ray(), task)


def _line(error: Exception) -> str:
    return f"{settings.RAY_ADDRESS} says: {str(error).strip().splitlines()[-1]}" if str(error).strip() else repr(error)
