"""What every run has in common as a process: how it goes through its steps, hears its inbox, leaves and ends."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefloop.checkpoints import DamagedCheckpoint, verify_manifest
from prefloop.engine.hardware import spare_activations
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.resume import Found, OtherRun, remove_dir
from prefloop.policy.adapters import add_adapter, base_of, count_parameters, restore_adapter
from prefloop.policy.loading import Policy, RewardModel
from prefloop.recipes.events import EndStatus, EventWriter, read_inbox
from prefloop.recipes.runspec import FINAL_DIR, INBOX_FILE, RunSpec
from prefloop.types import PrefloopError

_INBOX_READ = "inbox.read.json"


class Leaving(Exception):
    """Asked to leave before there was anything to save."""


class NotFinite(PrefloopError):
    """The loss or its gradient is not a number: the settings don't suit the model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process of the run ended; `path` and `fingerprint` are those of the result where there is one."""

    status: EndStatus
    step: int
    path: Path | None = None
    fingerprint: str = ""


class RunProcess(ABC):
    """One process of a run. `should_leave` is asked before every step."""

    def __init__(
        self,
        run_dir: Path,
        spec: RunSpec,
        events: EventWriter,
        *,
        resumed: bool,
        should_leave: Callable[[], bool],
        ranks: Ranks = ALONE,
    ) -> None:
        self._dir, self._spec, self._events, self._ranks = run_dir, spec, events, ranks
        self._resumed, self._should_leave = resumed, should_leave
        self._n_told = 0
        self.step = 0

    def run(self) -> Outcome:
        """Train to the end, or leave with a checkpoint. Raises PrefloopError, OSError, torch's errors."""
        try:
            return self._run()
        except Leaving:
            return Outcome("left", self.step)

    @abstractmethod
    def _run(self) -> Outcome: ...

    def _begin(self, found: Found | None, *, n_rows: int, n_steps: int) -> None:
        self._events.write("start", step=self.step, n_rows=n_rows, n_steps=n_steps)
        if self._resumed:
            self._events.write("resume", step=self.step, checkpoint=found.path.name if found else "")

    def _steps(self, take: Callable[[], None], save: Callable[[], None], *, n_steps: int, is_saved: bool) -> EndStatus:
        """Take the steps after `self.step` until the last, or until told otherwise; `left` has its checkpoint.

        `is_saved`: where the run stands now is a checkpoint already.
        """
        saved_at = self.step if is_saved else -1
        while self.step < n_steps:
            told, leaves = self._agreed()
            if told == "stop":
                return "stopped"
            if told == "pause" or leaves:
                if self.step != saved_at:
                    save()
                self._acknowledge()
                return "left"
            self.step += 1
            take()
            if self._spec.save_every and self.step % self._spec.save_every == 0 and self.step < n_steps:
                save()
                saved_at = self.step
        return "done"

    def _whole(self, found: Found | None) -> Path:
        """Say where the whole weights lie that the run goes on with: a checkpoint may hold its adapter alone."""
        alone = found is not None and base_of(found.path) is not None
        return found.path if found is not None and not alone else self._path(self._spec.start)

    def _adapted(self, loaded: Policy | RewardModel, found: Found | None) -> tuple[Any, dict[str, Any]]:
        """Put the adapter beside the model, where the run has one; return what the checkpoints have to say of it."""
        model, spec = loaded.model, self._spec
        if spec.spare_memory:
            spare_activations(model)
        n_parameters = count_parameters(model)[1]
        settings = spec.adapter.resolved(n_parameters)
        if settings.kind == "none":
            return model, {}
        model = add_adapter(model, settings, base=str(self._path(spec.start).resolve()))
        kept = {"adapter": dataclasses.asdict(settings), "base_fingerprint": loaded.fingerprint}
        if found is not None:
            told = verify_manifest(found.path)["extra"].get("base_fingerprint")
            if told != loaded.fingerprint:
                raise OtherRun(f"{spec.start} is not the model that {found.path.name} is an adapter of")
            restore_adapter(model, found.path)
        trains = count_parameters(model)[0]
        self._log("info", f"LoRA: {trains:,} numbers train beside {n_parameters:,} frozen ones")
        return model, kept

    def _agreed(self) -> tuple[str | None, bool]:
        """Say what the run was told, and whether any of its processes was asked to leave: the same in all of them."""
        said = self._ranks.gather((self._told() if self._ranks.is_main else None, self._should_leave()))
        return said[0][0], any(leaves for _, leaves in said)

    def _finished(self) -> Outcome | None:
        """Say how the run ended where it has its result already: running it again changes nothing."""
        target = self._dir / FINAL_DIR
        if not target.exists():
            return None
        try:
            manifest = verify_manifest(target)
        except DamagedCheckpoint as error:
            self._log("warning", f"the result is damaged ({error}); making it again")
            remove_dir(target)
            return None
        status: EndStatus = "stopped" if manifest["extra"].get("status") == "stopped" else "done"
        return Outcome(status, int(manifest["step"] or 0), target, str(manifest["fingerprint"]))

    def _told(self) -> str | None:
        """Read the inbox past what was acknowledged; the latest word on whether to go on counts."""
        told, self._n_told = read_inbox(self._dir / INBOX_FILE, self._acknowledged())
        words = [message.type for message in told if message.type in ("pause", "stop")]
        return words[-1] if words else None

    def _acknowledged(self) -> int:
        path = self._dir / _INBOX_READ
        return int(json.loads(path.read_text("utf-8"))["offset"]) if path.exists() else 0

    def _acknowledge(self) -> None:
        """Remember what was read only after it was done, so that a death in between does not lose it."""
        if not self._ranks.is_main:
            return
        path = self._dir / _INBOX_READ
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps({"offset": self._n_told}), "utf-8")
        temporary.replace(path)

    def _path(self, name: str) -> Path:
        return self._dir / name  # an absolute name stays what it is

    def _log(self, level: str, message: str) -> None:
        self._events.write("log", level=level, message=message)
