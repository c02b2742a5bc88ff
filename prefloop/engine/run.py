"""The training run, from its current position to its end, in steps that can be interrupted and resumed exactly.

There is one such run. Its rows come from a `Source`: a stored snapshot, or draws and a labeller. What makes a resumed
run equal an undisturbed one, bit for bit on one machine and thread count:
1. the rows of a step follow from the seed, the step, the weights and the run's log alone;
2. reference log-probs of stored rows are packed batch by batch, and what a batch gave is kept or read again whole;
3. parameters are copied into memory of their own after loading, so that their alignment, on which kernels' rounding
   may depend, is the same in a fresh and in a resumed process;
4. dropout is off (an adapter's draws from generators that are kept), and the optimizer's numbers are stored in full
   precision.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from prefloop.checkpoints import DamagedCheckpoint, verify_manifest
from prefloop.config import ConfigError
from prefloop.engine.context import Abandoned, Leaving, NotFinite, RunContext
from prefloop.engine.full import begin_in_full, end_in_full
from prefloop.engine.hardware import most_held
from prefloop.engine.learner import Learner, nothing
from prefloop.engine.online.drawn import DrawnRows
from prefloop.engine.online.judges import Connection
from prefloop.engine.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from prefloop.engine.passes import fitting, plan_passes
from prefloop.engine.pieces import Row
from prefloop.engine.resume import (
    Found,
    OtherRun,
    Position,
    check_room,
    generator_states,
    load_beside,
    load_moments,
    newest_checkpoint,
    publish_result,
    remove_dir,
    restore_generators,
    restore_kept_generators,
    save_checkpoint,
    sweep,
    training_bytes,
)
from prefloop.engine.sharding import whole_model
from prefloop.engine.source import Source, StoredRows
from prefloop.engine.step_losses import CURRENT, RowLoss, StepLoss, make_step_loss
from prefloop.engine.sums import Sums, merged
from prefloop.interrupting import interrupted_by
from prefloop.judging.errors import JudgeError
from prefloop.policy.adapters import add_adapter, base_of, count_parameters, restore_adapter
from prefloop.policy.loading import (
    Policy,
    RewardModel,
)
from prefloop.recipes.events import EndStatus
from prefloop.recipes.runspec import FINAL_DIR, KEPT
from prefloop.seeds import trainer_seed

_MODULES = "modules"  # files beside the optimizer's
_MODULES_OPTIMIZER = "modules_optimizer"
_ANCHOR = "anchor"
_COUNTS = "counts"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a process of the run ended; `path` and `fingerprint` are those of the result if there is one."""

    status: EndStatus
    step: int
    path: Path | None = None
    fingerprint: str = ""


class RunProcess:
    """One process of a run. `connection`: the address of a step's judge; None: the one in its specification."""

    def __init__(self, ctx: RunContext, connection: Connection | None = None) -> None:
        self._ctx, self._spec, self._connection = ctx, ctx.spec, connection
        self._modules: nn.Module | None = None
        self.step = 0

    def run(self) -> Outcome:
        """Train to the end, or leave with a checkpoint. Raises PrefloopError, OSError, torch's errors."""
        with self._ctx.ranks.main_first():
            sweep(self._ctx.run_dir)
            finished = self._finished()
        if finished is not None:
            return finished
        torch.set_num_threads(self._spec.threads)
        torch.manual_seed(trainer_seed(self._spec.seed))
        self._source = self._make_source()
        try:
            with interrupted_by(self._ctx.between_passes):
                return self._run()
        except (Leaving, Abandoned):  # before there was anything to save
            return Outcome("left", self.step)
        finally:
            self._source.close()

    def _run(self) -> Outcome:
        ctx, spec, source = self._ctx, self._spec, self._source
        ctx.progress("loading", 0, 0)
        newest = partial(newest_checkpoint, config_hash=spec.config_hash(), snapshot_sha256=source.sha256)
        found = ctx.ranks.by_main(partial(newest, ctx.run_dir, on_log=ctx.log))
        self._prepare(found)
        check_room(ctx.run_dir, training_bytes(self._model, self._optimizer))
        ctx.events.write("start", step=self.step, n_rows=source.n_rows, n_steps=source.n_steps)
        if ctx.resumed:
            ctx.events.write("resume", step=self.step, checkpoint=found.path.name if found else "")
        status = self._steps(is_saved=found is not None)
        if status == "left":
            return Outcome(status, self.step)
        if source.goes_on and not self._is_saved():
            self._save()  # what stands beside the weights is what the next block of the loop goes on with
        target, keeps_full = ctx.run_dir / FINAL_DIR, ctx.precision_of(spec.start).keeps_full
        self._say_saving()
        with interrupted_by(nothing):
            model = whole_model(self._model, keep=ctx.ranks.is_main, in_full=keeps_full)
            if not ctx.ranks.is_main:
                return Outcome(status, self.step)
            if keeps_full:
                whole = {one: one for one in model.parameters() if one.requires_grad}
                end_in_full(model, whole if ctx.sharded else self._optimizer.masters, self._start_in_full)
            fingerprint = publish_result(
                target,
                model,
                self._tokenizer,
                position=self._position(),
                parent=self._parent,
                extra={"status": status, **self._kept},
                merge_in=spec.adapter.merge,
                beside={_MODULES: self._modules_state()},
            )
        return Outcome(status, self.step, target, fingerprint)

    # --- what a run begins with ---------------------------------------------------------------------------------------

    def _make_source(self) -> Source:
        if self._spec.online is not None:
            return DrawnRows(self._ctx, self._spec.online, self._connection)
        return StoredRows(self._ctx)

    def _prepare(self, found: Found | None) -> None:
        """Load the trained model and its other state, and restore a checkpoint."""
        ctx, spec, source = self._ctx, self._spec, self._source
        alone = found is not None and base_of(found.path) is not None  # the checkpoint holds its adapter alone
        whole = found.path if found is not None and not alone else ctx.path(spec.start)
        loaded = ctx.read_trained(whole, own=whole != ctx.path(spec.start))
        self._parent = spec.parent or (found.parent if found else loaded.fingerprint)
        self._tokenizer = loaded.tokenizer
        for name, parameter in loaded.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise NotFinite(f"the weights {name} of the start model hold values that are not finite numbers")
        plan_passes(ctx, loaded.model)
        self._step_loss = self._make_step_loss()
        if not ctx.sharded:
            loaded = dataclasses.replace(loaded, model=ctx.place(loaded.model), device=ctx.device)
        source.open(loaded, fresh=found is None)
        self._model, self._kept = self._adapted(loaded, found)
        if not ctx.sharded:
            for parameter in self._model.parameters():
                parameter.data = parameter.data.clone()
        self.step = found.position.step if found else 0
        source.begin(dataclasses.replace(loaded, model=self._model), self._step_loss, step=self.step)
        if ctx.sharded:
            ctx.place(self._model)
        with torch.random.fork_rng():
            torch.manual_seed(trainer_seed(spec.seed, "modules"))
            self._modules = self._step_loss.modules(self._model)
        if self._modules is not None:
            self._modules.to(ctx.device)
        everything = nn.ModuleList([self._model, *([self._modules] if self._modules is not None else [])])
        self._optimizer = make_optimizer(everything, spec.objective)
        if found is None and ctx.precision_of(spec.start).keeps_full:
            begin_in_full(self._model, self._optimizer, self._start_in_full())
        self._learner = Learner(ctx, self._model, self._step_loss, self._optimizer, source)
        carry = spec.online.carry if spec.online is not None else None
        if found is not None:
            self._restore(found.path, whole=True)
            restore_kept_generators(found.path)
        elif carry:
            # the block before merged its adapter into the weights: a new one begins with an optimizer of its own
            self._restore(ctx.path(carry), whole=not self._kept)

    def _start_in_full(self) -> Any:
        return self._ctx.read_trained(self._ctx.path(self._spec.start), own=False, dtype=torch.float32).model

    def _make_step_loss(self) -> StepLoss:
        """Make the objective, with its teacher if it has one. Raises ConfigError for one with another vocabulary."""
        made, ctx = make_step_loss(self._spec.objective), self._ctx
        made.ranks = ctx.ranks
        draws = self._spec.online.draws if self._spec.online is not None else ()
        made.longest = max((draw.max_tokens for draw in draws if draw.source == CURRENT), default=0)
        if isinstance(made, RowLoss) and "teacher" in made.needs and self._spec.reference is not None:
            teacher = ctx.read_policy(self._spec.reference)
            if teacher.tokenizer.get_vocab() != self._tokenizer.get_vocab():
                raise ConfigError("teacher and student have different vocabularies: their tokens can't be compared")
            made.teacher = teacher.model
        return made

    def _adapted(self, loaded: Policy | RewardModel, found: Found | None) -> tuple[Any, dict[str, Any]]:
        """Add the adapter to the model, if the run has one; return what checkpoints must record about it."""
        model, spec = loaded.model, self._spec
        n_parameters = count_parameters(model)[1]
        settings = spec.adapter.resolved(n_parameters)
        if settings.kind == "none":
            return model, {}
        # checkpoints lie in directories of the run's: named from there, the base is found where all of it was moved
        relative = not Path(spec.start).is_absolute()
        base = f"../{spec.start}" if relative else str(self._ctx.path(spec.start).resolve())
        model = add_adapter(model, settings, base=base)
        kept = {"adapter": dataclasses.asdict(settings), "base_fingerprint": loaded.fingerprint}
        if found is not None:
            told = verify_manifest(found.path)["extra"].get("base_fingerprint")
            if told != loaded.fingerprint:
                raise OtherRun(f"{spec.start} is not the model that {found.path.name} is an adapter of")
            restore_adapter(model, found.path)
        trains = count_parameters(model)[0]
        self._ctx.log("info", f"LoRA: {trains:,} parameters are trained beside {n_parameters:,} frozen ones")
        return model, kept

    def _finished(self) -> Outcome | None:
        """Return the outcome of a run that already has its result: running it again changes nothing."""
        target = self._ctx.run_dir / FINAL_DIR
        if not target.exists():
            return None
        try:
            manifest = verify_manifest(target)
        except DamagedCheckpoint as error:
            self._ctx.log("warning", f"the result is damaged ({error}); writing it again")
            remove_dir(target)
            return None
        return Outcome("done", int(manifest["step"] or 0), target, str(manifest["fingerprint"]))

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _position(self) -> Position:
        source = self._source
        return Position(self.step, source.consumed(self.step), self._spec.config_hash(), source.sha256)

    def _is_saved(self) -> bool:
        return self._is_there(f"step-{self.step:06d}")

    def _is_there(self, name: str) -> bool:
        """Say whether the run's directory had this when the first process looked."""
        return self._ctx.ranks.gather((self._ctx.run_dir / name).exists())[0]

    def _save(self) -> None:
        is_main = self._ctx.ranks.is_main
        if not (is_main or self._ctx.sharded):
            return
        model = whole_model(self._model, keep=is_main)
        moments = optimizer_tensors(self._model, self._optimizer, keep=is_main)
        beside: dict[str, dict[str, Tensor]] = {
            _MODULES: self._modules_state(),
            _COUNTS: {"updates": torch.tensor(self._learner.updates)},
            _ANCHOR: self._source.tensors(keep=is_main),
        }
        if self._modules is not None:
            beside[_MODULES_OPTIMIZER] = optimizer_tensors(self._modules, self._optimizer)
        if not is_main:
            return
        self._say_saving()
        with interrupted_by(nothing):  # a checkpoint that is begun is finished
            path, fingerprint = save_checkpoint(
                self._ctx.run_dir,
                model,
                self._tokenizer,
                moments,
                position=self._position(),
                parent=self._parent,
                keep_last=self._spec.keep_last,
                extra=self._kept,
                beside=beside,
            )
        self._ctx.events.write("checkpoint", step=self.step, path=path.name, fingerprint=fingerprint)

    def _keep(self) -> None:
        """Keep the policy of this step to be measured; a step that is taken again finds it there."""
        target = self._ctx.run_dir / f"{KEPT}{self.step:06d}"
        if self._is_there(target.name):
            return
        model = whole_model(self._model, keep=self._ctx.ranks.is_main)
        if not self._ctx.ranks.is_main:
            return
        self._say_saving()
        with interrupted_by(nothing):
            publish_result(
                target,
                model,
                self._tokenizer,
                position=self._position(),
                parent=self._parent,
                extra=self._kept,
                merge_in=False,
            )

    def _say_saving(self) -> None:
        self._ctx.events.write("progress", phase="saving", done=0, total=1, step=self.step)

    def _modules_state(self) -> dict[str, Tensor]:
        state = self._modules.state_dict() if self._modules is not None else {}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def _restore(self, path: Path, *, whole: bool) -> None:
        counts = load_beside(path, _COUNTS)
        if not counts and self._source.goes_on:
            raise ConfigError(f"{path.name} holds no state of an on-policy run to go on from")
        if self._modules is not None:
            self._modules.load_state_dict(load_beside(path, _MODULES))
        if not whole:
            return
        updates = int(counts["updates"]) if counts else self.step  # older checkpoints of stored rows don't say
        self._learner.updates = updates
        self._source.restore(load_beside(path, _ANCHOR))
        moments = load_moments(path)
        if moments:
            restore_optimizer(self._model, self._optimizer, moments, step=updates)
            if self._modules is not None:
                theirs = load_beside(path, _MODULES_OPTIMIZER)
                restore_optimizer(self._modules, self._optimizer, theirs, step=updates)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _steps(self, *, is_saved: bool) -> EndStatus:
        """Make the steps after `self.step` until the last, or until told to leave; then write a checkpoint.

        `is_saved`: the current position already has a checkpoint.
        """
        ctx, n_steps = self._ctx, self._source.n_steps
        saved_at, saved_when = self.step if is_saved else -1, monotonic()
        while self.step < n_steps:
            leaves, began = any(ctx.ranks.gather(ctx.should_leave())), monotonic()
            if not leaves:
                self.step += 1
                generators = generator_states()
                try:
                    self._step()
                except (Abandoned, JudgeError) as error:  # the step is taken later
                    self.step -= 1
                    if ctx.moved:  # the weights are between two steps: go on from the last checkpoint
                        self.step = max(saved_at, 0)
                        return "left"
                    restore_generators(*generators)
                    if isinstance(error, JudgeError):
                        if not self._is_saved():
                            self._save()
                        ctx.ranks.gather(None)  # no process ends before the first has written it
                        raise
                    leaves = True
            if leaves:
                if self.step != saved_at:
                    self._save()
                return "left"
            if self._spec.keep_every and self.step % self._spec.keep_every == 0 and self.step < n_steps:
                self._keep()
            is_due = bool(self._spec.save_every) and self.step % self._spec.save_every == 0
            ended = monotonic()  # a checkpoint now, if another step like this one would end too late for one
            is_due |= ended - saved_when + (ended - began) >= self._spec.save_seconds
            (is_due, *_) = ctx.ranks.gather(is_due)  # of all processes the first one's clock
            if self.step < n_steps and is_due:
                self._save()
                saved_at, saved_when = self.step, monotonic()
        return "done"

    def _step(self) -> None:
        step, source, sums = self.step, self._source, Sums()
        self._ctx.step_begins()
        rows = source.rows(step, sums)
        values = fitting(self._ctx, partial(self._learn, rows, step, sums)) if rows else {}
        source.after(step, self._model)
        values |= merged(self._ctx.ranks.gather(sums)).means() | source.values(step)
        self._ctx.events.write("metric", step=step, values=values, peak=most_held(self._ctx.device))

    def _learn(self, rows: Sequence[Row], step: int, sums: Sums) -> dict[str, float]:
        """Learn from the step's rows; a try that runs out of memory leaves neither sums nor draws behind."""
        before, generators = copy.deepcopy(sums), generator_states()
        try:
            return self._learner.learn(rows, step, sums)
        except torch.OutOfMemoryError:
            sums.totals, sums.counts = before.totals, before.counts
            restore_generators(*generators)
            self._model.zero_grad(set_to_none=True)
            raise
