"""The executors that can run the process of a training run, each declared once.

Settings, the doctor and the documentation read it here; `workers/executors/` has a module for each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where it runs a process, and the extra that it needs. `on_its_machine`: where what else the worker runs, a
    server for the answers of a step, can be reached at 127.0.0.1. `bulk`: it can run many engines at once, which
    answer the questions of one job (`prefloop/bulk/`).
    """

    name: str
    about: str
    extra: str = ""
    module: str = ""  # that the extra installs
    on_its_machine: bool = False
    bulk: bool = False


LOCAL = Executor(name="local", about="as a child of the worker, on its machine", on_its_machine=True)
SLURM = Executor(name="slurm", about="as a job of a Slurm cluster", extra="slurm", module="submitit")
RAY = Executor(name="ray", about="as a job of a Ray cluster", extra="ray", module="ray", bulk=True)
EXECUTORS = {one.name: one for one in (LOCAL, SLURM, RAY)}
