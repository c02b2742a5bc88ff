"""Where the rows of a step come from: a stored snapshot, or sampling and a labeller (`online/drawn.py`)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor
from typing_extensions import override

from prefloop.engine.anchor import Anchor
from prefloop.engine.context import RunContext
from prefloop.engine.examples import (
    batch_of,
    encode_answers,
    encode_demonstrations,
    encode_groups,
    encode_pairs,
    steps_of,
)
from prefloop.engine.pieces import Piece, Row
from prefloop.engine.references import MISMATCHED_FILE, with_references
from prefloop.engine.step_losses import StepLoss
from prefloop.engine.sums import Sums
from prefloop.losses.declaration import Rows
from prefloop.policy.loading import Policy, RewardModel
from prefloop.policy.scoring import unshared_because
from prefloop.recipes.snapshots import read_rows

_ENCODERS: Mapping[Rows, Callable[..., list[Row]]] = {
    "demonstrations": encode_demonstrations,
    "answers": encode_answers,
    "groups": encode_groups,
}


class Source(ABC):
    """Gives the rows of step 1, 2, …; everything depends on the seed, the step, the weights and the run's log."""

    n_rows = 0
    n_steps = 0
    first_step = 0  # steps that the loop took before this run
    total_steps = 0  # of the whole loop, for the learning rate
    goes_on = False  # whether another run may go on from this one's last checkpoint
    reference: Policy | None = None  # what the loss pulls to, where the rows don't bring its log-probs

    def __init__(self, ctx: RunContext) -> None:
        self.ctx = ctx
        path, told = ctx.path(ctx.spec.snapshot), ctx.spec.snapshot_sha256
        self.sha256 = told or (hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "")

    @abstractmethod
    def open(self, loaded: Policy | RewardModel, *, fresh: bool) -> None:
        """Read the rows for this model; `fresh`: it is the starting model, not trained yet. Raises BadData."""

    def begin(self, policy: Any, step_loss: StepLoss, *, step: int) -> None:  # noqa: B027 - stored rows need none
        """Prepare for the steps after `step` with the trained policy."""

    @abstractmethod
    def rows(self, step: int, sums: Sums) -> list[Row]:
        """Return the rows of a step. May raise JudgeError, or Abandoned: the step is then repeated."""

    def looked(self, step: int, pieces: Sequence[Piece], sums: Sums) -> None:  # noqa: B027
        """Inspect the step's pieces before training on them, with the log-probs of policy and reference."""

    def after(self, step: int, model: Any) -> None:  # noqa: B027
        """Update the source after the policy was trained on the rows of `step`."""

    def consumed(self, step: int) -> int:
        """Count the rows used by the steps up to this one, those of each epoch again."""
        batch = self.ctx.spec.objective.batch
        done, rest = divmod(step, max(1, -(-self.n_rows // batch)))
        return done * self.n_rows + min(rest * batch, self.n_rows)

    def values(self, step: int) -> dict[str, float]:
        """The step's metrics besides its loss."""
        return {}

    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        """The tensors that a checkpoint must keep of it, in the processes with `keep`; all call it together."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:  # noqa: B027
        """Restore what `tensors` gave."""

    def close(self) -> None:  # noqa: B027
        """Release its resources."""


class StoredRows(Source):
    """The rows of a snapshot, in an order that depends on the seed and the epoch."""

    def __init__(self, ctx: RunContext) -> None:
        super().__init__(ctx)
        spec = ctx.spec
        self._anchor: Anchor | None = None  # a reference that follows the policy
        self._stored = read_rows(ctx.path(spec.snapshot), spec.objective.rows, sha256=spec.snapshot_sha256)
        self.n_rows = len(self._stored)
        self.n_steps = self.total_steps = steps_of(
            self.n_rows, batch=spec.objective.batch, epochs=spec.objective.epochs
        )

    @override
    def open(self, loaded: Policy | RewardModel, *, fresh: bool) -> None:
        spec, settings = self.ctx.spec, self.ctx.spec.objective
        limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if settings.rows == "pairs":
            self._rows = encode_pairs(self._stored, loaded.tokenizer, max_length=limit, target=settings.target)
        else:
            self._rows = _ENCODERS[settings.rows](self._stored, loaded.tokenizer, max_length=limit)
        if any(len(row.item.completions) > 1 for row in self._rows):
            longest = max(len(row.item.prompt_ids) + max(map(len, row.item.completions)) for row in self._rows)
            if reason := unshared_because(loaded.model, longest):
                self.ctx.log("warning", f"{reason}: each answer takes a row of its own, which is slower")
        if settings.needs("ref") and spec.reference is not None and not spec.anchor.moves:
            path = self.ctx.path(spec.reference)
            own = fresh and isinstance(loaded, Policy) and path.resolve() == Path(loaded.path).resolve()
            own &= not self.ctx.sharded  # where the loaded one waits, whole, to be trained
            name = spec.reference

            @cache
            def reference() -> Any:  # a start that is not trained yet is its own reference
                return (loaded if own else self.ctx.read_policy(name)).model

            self._rows = with_references(self.ctx, self._rows, reference)
            if settings.needs("mismatched"):
                mixed = [row.mismatched for row in self._rows if row.mismatched is not None]
                mixed = with_references(self.ctx, mixed, reference, file=MISMATCHED_FILE)
                self._rows = [replace(row, mismatched=one) for row, one in zip(self._rows, mixed, strict=True)]

    @override
    def begin(self, policy: Any, step_loss: StepLoss, *, step: int) -> None:
        if self.ctx.spec.anchor.moves:  # else the rows bring the reference's log-probs
            self._anchor = Anchor(self.ctx.spec.anchor, policy, self.ctx.place)
            self.reference = self._anchor.policy

    @override
    def rows(self, step: int, sums: Sums) -> list[Row]:
        return batch_of(self._rows, step, batch=self.ctx.spec.objective.batch, seed=self.ctx.spec.seed)

    @override
    def after(self, step: int, model: Any) -> None:
        if self._anchor is not None:
            self._anchor.follow(model, step)

    @override
    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        return self._anchor.tensors(keep=keep) if self._anchor is not None else {}

    @override
    def restore(self, tensors: dict[str, Tensor]) -> None:
        if self._anchor is not None:
            self._anchor.restore(tensors)

    @override
    def values(self, step: int) -> dict[str, float]:
        return {"epoch": step * self.ctx.spec.objective.epochs / self.n_steps}
