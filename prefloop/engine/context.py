"""What all parts of a run share: its directory, its specification, its device, and its output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from prefloop.engine.hardware import device_of
from prefloop.engine.precision import Chosen, Kept, choose
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.sharding import shard
from prefloop.memory import Passes
from prefloop.policy.loading import (
    Policy,
    RewardModel,
    is_reward_model,
    load_policy,
    load_reward_model,
    reward_model_from_policy,
)
from prefloop.recipes.events import EventWriter
from prefloop.recipes.runspec import RunSpec
from prefloop.types import PrefloopError

PRECISION_FILE = "precision.json"
_TELL_SECONDS = 1.0  # between two words about how far a phase is
_FINISH_SECONDS = 5.0  # for a step whose weights have changed: one that ends later is dropped all the same


class Leaving(Exception):
    """Asked to leave before there was anything to save."""


class Abandoned(Exception):
    """Asked to leave in the middle of a step: the next process repeats it."""


class NotFinite(PrefloopError):
    """The loss or its gradient is not finite: the settings don't suit the model."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class RunContext:
    """One process of a run. `should_leave` is asked before every step, `at_once` also within it.

    `measured`: the directory that remembers what this machine was measured to do. `moved`: whether the step under way
    has changed the weights. `passes`: how rows are divided (`passes.py`).
    """

    run_dir: Path
    spec: RunSpec
    events: EventWriter
    should_leave: Callable[[], bool] = _never
    at_once: Callable[[], bool] = _never
    ranks: Ranks = ALONE
    measured: Path | None = None
    resumed: bool = False
    moved: bool = False
    passes: Passes = None  # type: ignore[assignment] # until it is planned what the specification says
    _asked_at: float | None = field(default=None)
    _told_at: float = field(default=float("-inf"))
    _chosen: dict[Path, Chosen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.passes = self.passes or Passes(self.spec.token_budget, longest_kept=self.spec.token_budget)

    @property
    def device(self) -> torch.device:
        return device_of(self.spec, self.ranks.local)

    @property
    def loads_on(self) -> torch.device:
        """The device that a model is read to: the machine's memory where the processes may share its weights."""
        return torch.device("cpu") if self.ranks.size > 1 and self.spec.shard != "never" else self.device

    @property
    def sharded(self) -> bool:
        """Whether the run's processes share the weights; known once its passes are planned."""
        return self.passes.sharded and self.ranks.size > 1

    def place(self, model: Any) -> Any:
        """Put a model that was just read where it computes: as a whole, or sharded over the processes of the run."""
        if self.sharded:
            shard(model, self.device, self.dtype)
            return model
        return model if self.loads_on == self.device else model.to(self.device)

    def read_trained(self, path: Path, *, own: bool, dtype: torch.dtype | None = None) -> Policy | RewardModel:
        """Read the model to train, which is not placed yet; `own`: as this run left it. Raises UnloadableModel.

        A reward model may start from a policy, with a head of zeros.
        """
        on, dtype = self.loads_on, dtype or self.dtype
        if not self.spec.objective.needs("rewards"):
            return load_policy(path, device=on, dtype=dtype)
        if own or is_reward_model(path):
            return load_reward_model(path, device=on, dtype=dtype)
        policy = load_policy(path, device=on, dtype=dtype)
        return replace(reward_model_from_policy(policy), fingerprint=policy.fingerprint)

    def read_policy(self, name: str) -> Policy:
        """Read a policy that is not trained, in the trained one's precision, and place it. Raises UnloadableModel."""
        policy = load_policy(self.path(name), device=self.loads_on, dtype=self.dtype)
        return replace(policy, model=self.place(policy.model.requires_grad_(False)), device=self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the trained model, and of those it is compared with."""
        return self.precision_of(self.spec.start).dtype

    def precision_of(self, model: str) -> Chosen:
        """Choose the precision of a model as all who load it do; the run keeps what was measured (`precision.json`)."""
        path = self.path(model)
        if path not in self._chosen:
            with self.ranks.main_first():
                chosen, new = Kept(self.path(PRECISION_FILE)).get(model, partial(self._choose, path))
            self._chosen[path] = chosen
            if new:
                self.log("info", f"{path.name} computes in {chosen.why}")
        return self._chosen[path]

    def _choose(self, path: Path) -> Chosen:
        return choose(
            path,
            setting=self.spec.precision,
            device_type=self.device.type,
            threads=self.spec.threads,
            folder=self.measured,
        )

    def path(self, name: str) -> Path:
        """Return the place of a file; an absolute name stays as it is, and `..` is resolved: one place, one path."""
        return Path(os.path.normpath(self.run_dir / name))

    def log(self, level: str, message: str) -> None:
        self.events.write("log", level=level, message=message)

    def step_begins(self) -> None:
        """Start the clock of a step; a step that ends within a second reports no progress."""
        self._told_at = monotonic()
        self.moved = False

    def progress(self, phase: str, done: int, total: int, *, step: int | None = None) -> None:
        """Report at most once a second the progress of a phase, in a step or before the first; there also the end of
        a phase.
        """
        if (step is None and done in (0, total)) or monotonic() - self._told_at >= _TELL_SECONDS:
            self.events.write("progress", phase=phase, done=done, total=total, **({"step": step} if step else {}))
            self._told_at = monotonic()

    def between_passes(self) -> None:
        """Check for a request to leave, between two passes and before every layer of one.

        Raises Abandoned: at once while the step has not changed the weights, after seconds when it has. A step of a
        large model takes minutes, but whoever asks waits only seconds. Several processes leave together, after a step
        or where they meet in it (`leave_the_step`).
        """
        if self.ranks.size > 1 or not self.at_once():
            return
        if self._asked_at is None:
            self._asked_at = monotonic()
        if not self.moved or monotonic() - self._asked_at >= _FINISH_SECONDS:
            raise Abandoned

    def leave_the_step(self) -> None:
        """Check, within a step that has not changed the weights, whether any of several processes is to leave.

        Raises Abandoned in all of them. One process alone checks between its passes.
        """
        if self.ranks.size > 1 and any(self.ranks.gather(self.at_once())):
            raise Abandoned

    def leave_if_asked(self) -> None:
        """Check whether any of the processes was asked to leave. Raises Leaving in all of them."""
        if any(self.ranks.gather(self.should_leave())):
            raise Leaving
