"""The step-refreshed run: sample, score, label, learn, follow; and again, until told otherwise.

Everything that a step does follows from the run's seed and the step's number, the weights, what stands beside them
(optimizer, value head, anchor, how often the optimizer has moved) and what judges and people said, which the log holds.
So a run that was killed goes on to the same losses and the same weights, and asks no judge twice. Old log-probs are
always computed by the pass that is trained through, never taken from the sampler, whose cache rounds otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from typing_extensions import override

from prefloop.config import ConfigError
from prefloop.engine.examples import steps_of
from prefloop.engine.hardware import device_of, dtype_of, ready_to_step
from prefloop.engine.objectives import Sums
from prefloop.engine.online.anchor import Anchor
from prefloop.engine.online.bond import Bond
from prefloop.engine.online.heard import Heard, Live
from prefloop.engine.online.judges import (
    Connection,
    JudgeLabeller,
    PairLabeller,
    ScoreLabeller,
    Scorer,
    labelled_pairs,
    reward_scorer,
    world_scorer,
)
from prefloop.engine.online.objectives import CURRENT, Answers, PairObjective, StepObjective
from prefloop.engine.online.ppo import PPO
from prefloop.engine.online.rollouts import Question, draw_answers, questions_of, read_questions, with_scores
from prefloop.engine.online.rows import Piece, Row, pieces_of, token_logps
from prefloop.engine.online.stream import StepRecord, StreamLog, read_records, records_of, replayed
from prefloop.engine.optimizer import (
    clip_gradients,
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from prefloop.engine.resume import (
    TRAINING,
    Beside,
    Found,
    Position,
    check_room,
    load_beside,
    newest_checkpoint,
    publish_result,
    save_checkpoint,
    sweep,
    training_bytes,
)
from prefloop.engine.shell import NotFinite, Outcome, RunProcess
from prefloop.judging.errors import JudgeError
from prefloop.policy.loading import Policy, load_policy
from prefloop.policy.scoring import forward_tokens
from prefloop.recipes.events import Event, EventWriter, drop_superseded, read_events
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import EVENTS_FILE, FINAL_DIR, INBOX_FILE, RunSpec
from prefloop.seeds import derive_seed, shuffler_seed, trainer_seed
from prefloop.types import Pair

_MODULES = "modules"  # files beside the optimizer's
_MODULES_OPTIMIZER = "modules_optimizer"
_ANCHOR = "anchor"
_COUNTS = "counts"


def make_objective(settings: Objective, online: OnlineSpec) -> StepObjective:
    """Make the objective of a run. Raises UnknownObjective."""
    if settings.loss == "ppo":
        return PPO(settings, missing_eos_penalty=online.missing_eos_penalty)
    if settings.loss in ("bond-forward", "bond-backward", "bond", "j-bond"):
        return Bond(settings)
    return PairObjective(settings)


class OnlineRun(RunProcess):
    """One process of a step-refreshed run."""

    def __init__(
        self,
        run_dir: Path,
        spec: RunSpec,
        events: EventWriter,
        *,
        resumed: bool,
        should_leave: Callable[[], bool],
        connection: Connection | None = None,
    ) -> None:
        super().__init__(run_dir, spec, events, resumed=resumed, should_leave=should_leave)
        if spec.online is None:
            raise ConfigError("a run of the kind online says how it samples")
        self._online: OnlineSpec = spec.online
        self._connection = connection
        self._updates = 0  # how often the optimizer has moved, in this run and those that it goes on from

    @override
    def _run(self) -> Outcome:
        sweep(self._dir)
        finished = self._finished()
        if finished is not None:
            return finished
        spec, online = self._spec, self._online
        torch.set_num_threads(spec.threads)
        torch.manual_seed(trainer_seed(spec.seed))
        sha256 = spec.snapshot_sha256
        found = newest_checkpoint(self._dir, config_hash=spec.config_hash(), snapshot_sha256=sha256, on_log=self._log)
        self._device = device_of(spec)
        self._dtype = dtype_of(spec, self._device)
        policy = load_policy(self._whole(found), device=self._device, dtype=self._dtype)
        parent = spec.parent or (found.parent if found else policy.fingerprint)
        self._policy, self._model, self._tokenizer = policy, policy.model, policy.tokenizer
        for name, parameter in self._model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise NotFinite(f"the weights {name} of the start model hold values that are not finite numbers")
        self._questions: list[Question] = []
        self._records: list[StepRecord] = []
        if online.replay:
            logged = read_records([self._path(name) for name in online.replay])
            ordered = replayed(logged, online.memory, seed=derive_seed(online.replay_seed, "replay"))
            self._records = ordered[online.first_step : online.first_step + (online.n_steps or len(ordered))]
            n_steps = len(self._records)
        else:
            self._questions, _ = read_questions(self._path(spec.snapshot), self._tokenizer, sha256=sha256)
            n_steps = steps_of(len(self._questions), batch=spec.objective.batch, epochs=spec.objective.epochs)
        earlier, _ = read_events(self._dir / EVENTS_FILE)
        self._log_stream = StreamLog(self._events, earlier)
        live = Live(spec.objective, online.memory, online.label)
        self._heard = Heard(self._dir / INBOX_FILE, self._events, earlier, live, self._tokenizer)
        kept = self._prepare(found)
        self.step = found.position.step if found else 0
        self._drawn = self._drawn_before(drop_superseded(earlier))
        check_room(self._dir, training_bytes(self._model, self._optimizer))
        self._begin(found, n_rows=len(self._questions) or len(self._records), n_steps=n_steps)
        self._n_steps = n_steps
        self._total = max(online.total_steps, online.first_step + n_steps)

        def position() -> Position:
            return Position(self.step, self.step * spec.objective.batch, spec.config_hash(), sha256)

        def save() -> None:
            path, fingerprint = save_checkpoint(
                self._dir,
                self._model,
                self._tokenizer,
                self._optimizer,
                position=position(),
                parent=parent,
                keep_last=spec.keep_last,
                extra=kept,
                beside=self._beside(),
            )
            self._events.write("checkpoint", step=self.step, path=path.name, fingerprint=fingerprint)

        def take() -> None:
            try:
                self._step()
            except JudgeError:  # nothing of the step is in the weights yet: it will be taken again, from here
                self.step -= 1
                if not (self._dir / f"step-{self.step:06d}").exists():
                    save()
                raise

        status = self._steps(take, save, n_steps=n_steps, is_saved=found is not None)
        if status == "left":
            return Outcome("left", self.step)
        if not (self._dir / f"step-{self.step:06d}").exists():
            save()  # what stands beside the weights is what the next block of the loop goes on with
        target = self._dir / FINAL_DIR
        fingerprint = publish_result(
            target,
            self._model,
            self._tokenizer,
            position=position(),
            parent=parent,
            extra={"status": status, **kept},
            merge_in=spec.adapter.merge,
            beside={_MODULES: self._modules_state()},
        )
        return Outcome(status, self.step, target, fingerprint)

    # --- what a run begins with ---------------------------------------------------------------------------------------

    def _prepare(self, found: Found | None) -> dict[str, Any]:
        """Make what stands beside the policy, and put it back where it was; return what a checkpoint says of it."""
        spec, online = self._spec, self._online
        self._objective = make_objective(spec.objective, online)
        self._model, kept = self._adapted(self._policy, found)
        self._policy = replace(self._policy, model=self._model)
        self._initial = self._initial_policy()
        anchored = online.anchor.kind != "none"
        still = self._initial if online.anchor.kind == "initial" else None
        self._anchor = Anchor(online.anchor, still or self._policy) if anchored else None
        if self._anchor is None:
            self._reference = self._initial if "ref" in self._objective.needs else None
        else:
            self._reference = self._anchor.policy
        if "ref" in self._objective.needs and self._reference is None:
            raise ConfigError(f"a run with the loss {spec.objective.loss} needs a reference")
        self._scorer = self._make_scorer()
        self._scored = online.score.by != "none"
        if self._scored and self._scorer is None:
            raise ConfigError("nobody scores: the run has neither a reward model nor a world")
        self._labeller = self._make_labeller()
        for parameter in self._model.parameters():
            parameter.data = parameter.data.clone()  # as in `loop.py`: in memory of its own, however it was loaded
        with torch.random.fork_rng():
            torch.manual_seed(trainer_seed(spec.seed, "modules"))
            self._modules = self._objective.modules(self._model)
        if self._modules is not None:
            self._modules.to(self._device)
        everything = nn.ModuleList([self._model, *([self._modules] if self._modules is not None else [])])
        self._optimizer = make_optimizer(everything, spec.objective)
        if found is not None:
            self._restore(found.path, whole=True)
        elif online.carry:
            # the block before merged its adapter into the weights: a new one begins with an optimizer of its own
            self._restore(self._path(online.carry), whole=not kept)
        return kept

    def _initial_policy(self) -> Policy | None:
        """Load the policy that stands still: the reference, and whom draws of `initial` ask."""
        if self._spec.reference is None:
            return None
        policy = load_policy(self._path(self._spec.reference), device=self._device, dtype=self._dtype)
        for parameter in policy.model.parameters():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.clone()
        return policy

    def _make_scorer(self) -> Scorer | None:
        online, spec = self._online, self._spec
        if online.reward_model is not None:
            return reward_scorer(
                self._path(online.reward_model),
                device=self._device,
                dtype=self._dtype,
                tokenizer=self._tokenizer,
                token_budget=spec.token_budget,
            )
        judge = online.judge
        return world_scorer(judge.world) if judge is not None and judge.kind == "world" else None

    def _make_labeller(self) -> PairLabeller | None:
        judge = self._online.judge
        if self._objective.settings.rows != "pairs" or self._records:
            return None
        if judge is not None and judge.kind == "llm":
            connection = self._connection or Connection(judge.base_url)
            return JudgeLabeller(self._log_stream, judge, connection)
        if self._scorer is None:
            raise ConfigError("nobody labels: the run has neither a reward model nor a judge")
        return ScoreLabeller(self._log_stream, self._scorer, coin=judge)

    def _beside(self) -> Beside:
        found: dict[str, dict[str, Tensor]] = {
            _MODULES: self._modules_state(),
            _COUNTS: {"updates": torch.tensor(self._updates)},
        }
        if self._modules is not None:
            found[_MODULES_OPTIMIZER] = optimizer_tensors(self._modules, self._optimizer)
        if self._anchor is not None:
            found[_ANCHOR] = self._anchor.tensors()
        return found

    def _modules_state(self) -> dict[str, Tensor]:
        state = self._modules.state_dict() if self._modules is not None else {}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def _restore(self, path: Path, *, whole: bool) -> None:
        counts = load_beside(path, _COUNTS)
        if not counts:
            raise ConfigError(f"{path.name} holds no state of a step-refreshed run to go on from")
        if self._modules is not None:
            self._modules.load_state_dict(load_beside(path, _MODULES))
        if not whole:
            return
        self._updates = int(counts["updates"])
        if self._anchor is not None and self._anchor.moves:
            self._anchor.restore(load_beside(path, _ANCHOR))
        moments = load_file(path / TRAINING / "optimizer.safetensors")
        if moments:
            restore_optimizer(self._model, self._optimizer, moments, step=self._updates)
            if self._modules is not None:
                theirs = load_beside(path, _MODULES_OPTIMIZER)
                restore_optimizer(self._modules, self._optimizer, theirs, step=self._updates)

    def _drawn_before(self, earlier: Sequence[Event]) -> dict[int, list[Answers]]:
        """Answers that were drawn for steps still to come, before the run was taken up again."""
        drawn = [event for event in earlier if event.type == "sample" and int(event.data["drawn"]) <= self.step]
        return {step: record.answers for step, record in records_of(drawn).items() if step > self.step}

    # --- a step -------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        if self._heard.before(self.step):
            self._objective.settings = self._heard.live.objective
        sums = Sums()
        rows = self._rows(sums)
        extra = self._heard.rows(self.step, batch=self._spec.objective.batch, seed=self._spec.seed)
        values: dict[str, float] = {"memory/overrides": float(len(extra))} if extra else {}
        if rows or extra:
            values |= self._learn([*rows, *extra], sums)
        if self._anchor is not None:
            self._anchor.follow(self._model, self._online.first_step + self.step)
        values |= sums.means()
        self._events.write("metric", step=self.step, values=values)

    def _rows(self, sums: Sums) -> list[Row]:
        if self._records:
            record = self._records[self.step - 1]
            return self._objective.rows(record.answers, record.pairs)
        if self.step not in self._drawn:
            self._refresh()
        answers = self._drawn.pop(self.step)
        if self._scored:
            sums.add("objective/scores", _flat(answers, lambda one, at: one.score(at)))
        sums.add("completions/mean_length", _flat(answers, lambda one, at: float(len(one.group.completions[at].ids))))
        sums.add("val/contain_eos_token", _flat(answers, lambda one, at: float(one.group.completions[at].finished)))
        pairs = self._pairs(answers, sums)
        return self._objective.rows(answers, pairs)

    def _refresh(self) -> None:
        """Draw the answers of this step; where they are refreshed every k steps, those of the steps until then too."""
        every = self._online.refresh_steps
        last = min(self.step - (self.step - 1) % every + every - 1, self._n_steps)
        for step in range(self.step, last + 1):
            answers = self._draw(step)
            if self._scored and self._scorer is not None:
                answers = with_scores(answers, self._scorer(answers))
            self._log_stream.answers(step, self.step, answers)
            self._drawn[step] = answers

    def _draw(self, step: int) -> list[Answers]:
        batch, seed = self._spec.objective.batch, self._spec.seed
        policies = {CURRENT: self._policy, "previous": self._policy}
        if self._initial is not None:
            policies["initial"] = self._initial
        if self._anchor is not None:
            policies["anchor"] = self._anchor.policy
        for draw in self._online.draws:
            if draw.source not in policies:
                raise ConfigError(f"draws.source {draw.source} can't answer inside a step")
        asked = questions_of(self._questions, step, batch=batch, seed=seed)
        return draw_answers(asked, self._online.draws, policies, step=step, seed=seed)

    def _pairs(self, answers: Sequence[Answers], sums: Sums) -> dict[int, list[Pair]]:
        if self._labeller is None:
            return {}
        seed = shuffler_seed(self._spec.seed, "pairing", self.step)
        wanted = [
            (one, pair) for one in answers for pair in make_pairs(self._online.pairing, one.group, seed=seed).pairs
        ]
        pairs, n_dropped = labelled_pairs(
            self._labeller, self._heard.live.label, wanted, step=self.step, seed=self._spec.seed
        )
        self._log_stream.labels(self.step, pairs)
        sums.add("labels/dropped", torch.tensor([float(n_dropped)]))
        return pairs

    def _learn(self, rows: Sequence[Row], sums: Sums) -> dict[str, float]:
        """Make the passes over the step's rows; each minibatch moves the optimizer once."""
        settings, objective = self._objective.settings, self._objective
        size = -(-len(rows) // objective.minibatches)
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        batches = [pieces_of(self._model, group, token_budget=self._spec.token_budget) for group in groups]
        pieces = [piece for batch in batches for piece in batch]
        self._look_once(pieces)
        objective.prepare(pieces, sums)
        rate = learning_rate(settings, self._online.first_step + self.step, self._total)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses, norms = [], []
        for _ in range(objective.passes):
            for batch in batches:
                loss, norm = self._update(batch, sums, settings, rate)
                losses.append(loss)
                norms.append(norm)
        _policy_metrics(pieces, sums)
        return {"loss": sum(losses) / len(losses), "grad_norm": sum(norms) / len(norms), "learning_rate": rate}

    def _look_once(self, pieces: Sequence[Piece]) -> None:
        needs = self._objective.needs
        with torch.no_grad():
            for piece in pieces:
                if "old" in needs:
                    states = forward_tokens(self._model, piece.packed, with_grad=False)
                    piece.kept |= {"old": states.logps, "hidden": states.hidden}
                if "ref" in needs and self._reference is not None:
                    piece.kept["ref"] = token_logps(self._reference.model, piece)

    def _update(self, batch: Sequence[Piece], sums: Sums, settings: Objective, rate: float) -> tuple[float, float]:
        self._optimizer.zero_grad(set_to_none=True)
        ready_to_step(self._model, spare_memory=self._spec.spare_memory)
        total = self._objective.denominator(batch)
        value = 0.0
        for piece in batch:
            states = forward_tokens(self._model, piece.packed, with_grad=True)
            piece.kept.setdefault("old", states.logps.detach())
            part = self._objective.loss(piece, states, sums) / total
            part.backward()
            value += float(part.detach())
        norm = clip_gradients(self._optimizer, settings)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFinite(
                f"the loss is not a finite number at step {self.step} (learning rate {rate:g}): lower objective.lr"
            )
        self._optimizer.step()
        self._updates += 1
        return value, norm


def _flat(answers: Sequence[Answers], value: Callable[[Answers, int], float]) -> Tensor:
    """A value of every answer that the policy itself gave."""
    return torch.tensor([value(one, at) for one in answers for at in one.by(CURRENT)])


def _policy_metrics(pieces: Sequence[Piece], sums: Sums) -> None:
    """TRL's KL and entropy of whole answers; only their own tokens count, nothing after EOS."""
    for piece in pieces:
        old = piece.sums(piece.kept["old"])
        sums.add("objective/entropy", -old)
        if "ref" in piece.kept:
            sums.add("objective/kl", old - piece.sums(piece.kept["ref"]))
