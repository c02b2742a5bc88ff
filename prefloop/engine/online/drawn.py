"""The rows of an on-policy run: sample, score, label; or replay the answers and labels that another such run logged.

Everything in a step depends on the run's seed, the step number, the weights and other state, and on what judges and
people said, which is in the log. So a killed run resumes to the same losses and weights, and asks no judge twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from prefloop.config import ConfigError
from prefloop.engine.anchor import Anchor
from prefloop.engine.context import RunContext
from prefloop.engine.examples import batch_of, steps_of
from prefloop.engine.online.fresh import add_fresh, flat, is_fresh, look_at_fresh
from prefloop.engine.online.heard import Heard
from prefloop.engine.online.judges import (
    Connection,
    StepJudge,
    StepTools,
    checkpoints_of,
    judge_of,
    labelled_pairs,
)
from prefloop.engine.online.rollouts import Question, dealt_back, draw_answers, read_questions, with_scores
from prefloop.engine.online.samplers import Samplers, is_served
from prefloop.engine.online.stream import StepRecord, StreamLog, read_records, records_of, replayed
from prefloop.engine.pieces import Piece, Row
from prefloop.engine.sharding import whole_model
from prefloop.engine.source import Source
from prefloop.engine.step_losses import CURRENT, Answers, StepLoss
from prefloop.engine.sums import Sums
from prefloop.policy.loading import Policy, RewardModel
from prefloop.recipes.events import Event, drop_superseded, read_events
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.runspec import EVENTS_FILE, INBOX_FILE
from prefloop.seeds import derive_seed, shuffler_seed
from prefloop.types import Group, Pair


class DrawnRows(Source):
    """The answers of a run's policies in each step, labelled immediately; or a log of that."""

    goes_on = True

    def __init__(self, ctx: RunContext, online: OnlineSpec, connection: Connection | None) -> None:
        super().__init__(ctx)
        self._online, self._connection = online, connection
        self._questions: list[Question] = []
        self._records: list[StepRecord] = []
        self._drawn: dict[int, list[Answers]] = {}
        self._samplers = Samplers((), run_dir=ctx.run_dir, served=None)

    @override
    def open(self, loaded: Policy | RewardModel, *, fresh: bool) -> None:
        ctx, online, settings = self.ctx, self._online, self.ctx.spec.objective
        if online.replay:
            logged = read_records([ctx.path(name) for name in online.replay])
            ordered = replayed(logged, online.memory, seed=derive_seed(online.replay_seed, "replay"))
            self._records = ordered[online.first_step : online.first_step + (online.n_steps or len(ordered))]
            self.n_rows = self.n_steps = len(self._records)
        else:
            self._questions = read_questions(
                ctx.path(ctx.spec.snapshot), loaded.tokenizer, sha256=ctx.spec.snapshot_sha256
            )
            self.n_rows = len(self._questions)
            self.n_steps = steps_of(self.n_rows, batch=settings.batch, epochs=settings.epochs)
        self.first_step = online.first_step
        self.total_steps = max(online.total_steps, online.first_step + self.n_steps)

    @override
    def begin(self, policy: Policy, step_loss: StepLoss, *, step: int) -> None:
        ctx, online = self.ctx, self._online
        self._policy, self._step_loss = policy, step_loss
        earlier = read_events(ctx.path(EVENTS_FILE))[0] if ctx.ranks.is_main else []
        self._log = StreamLog(ctx.events, earlier)
        self._heard = Heard(ctx.path(INBOX_FILE), ctx.events, earlier, online.memory, policy.tokenizer)
        self._drawn = _drawn_before(earlier, step)
        self._initial = self._initial_policy()
        anchor = self._initial if online.anchor.kind == "initial" else None
        self._anchor = None  # one that is no other policy of the run
        if anchor is None and online.anchor.kind != "none":
            self._anchor = Anchor(online.anchor, policy, ctx.place)
            anchor = self._anchor.policy
        if anchor is not None:
            self.reference = anchor
        elif "ref" in step_loss.needs:
            self.reference = self._initial
        if "ref" in step_loss.needs and self.reference is None:
            raise ConfigError(f"a run with the loss {ctx.spec.objective.loss} needs a reference")
        self._scored = online.score.by != "none"
        self._judge = self._open_judge()
        served = self._connection.sampler if self._connection is not None else None
        self._one_server = any(is_served(draw) for draw in online.draws)  # which the first process asks for all answers
        draws = () if self._records or (self._one_server and not ctx.ranks.is_main) else online.draws
        self._samplers = Samplers(draws, run_dir=ctx.run_dir, served=served)
        self._policies = {CURRENT: policy, "previous": policy}
        if self._initial is not None:
            self._policies["initial"] = self._initial
        if anchor is not None:
            self._policies["anchor"] = anchor
        self._given: set[str] = set()  # sources whose weights the samplers got
        if strange := sorted(self._samplers.keys() - self._policies.keys()):
            raise ConfigError(f"draws.source {strange[0]} can't answer inside a step")

    def _initial_policy(self) -> Policy | None:
        """Load the fixed policy: the reference, which also answers draws of `initial`."""
        ctx = self.ctx
        if ctx.spec.reference is None or "teacher" in self._step_loss.needs:  # a teacher is with the loss
            return None
        policy = ctx.read_policy(ctx.spec.reference)
        if not ctx.sharded:
            for parameter in policy.model.parameters():
                parameter.data = parameter.data.clone()
        return policy

    def _open_judge(self) -> StepJudge | None:
        """Open whoever scores and labels, in the first process; None where nobody does. Raises ConfigError."""
        labels = self._step_loss.settings.rows == "pairs"
        if self._records or not (self._scored or labels):
            return None
        spec = judge_of(self._online)
        if spec is None:
            raise ConfigError("nobody scores or labels: the run has neither a reward model nor a judge")
        for checkpoint in checkpoints_of(spec):
            self.ctx.precision_of(checkpoint)  # which all processes find out together
        if not self.ctx.ranks.is_main:
            return None
        tools = StepTools(self.ctx, self._connection or Connection(), self._policy.tokenizer)
        metadata = {one.id: one.metadata for one in self._questions}
        return StepJudge(spec, self._log, tools, metadata, lambda text: self.ctx.log("warning", text))

    @override
    def rows(self, step: int, sums: Sums) -> list[Row]:
        spec, ranks, fresh = self.ctx.spec, self.ctx.ranks, not self._step_loss.rows_are_own
        if ranks.is_main:
            self._heard.before(step)
        if not self._records and ranks.gather(step not in self._drawn)[0]:
            self._refresh(step)
        self.ctx.leave_the_step()
        answers, pairs, extra = ranks.by_main(partial(self._labelled, step, sums))
        self.ctx.leave_the_step()
        if fresh and is_fresh(spec, step):
            tokens = self.ctx.passes.tokens
            look_at_fresh(spec, self._policy.model, self._initial, answers, sums, ranks=ranks, token_budget=tokens)
        return [*self._step_loss.rows(answers, pairs), *extra]

    def _labelled(self, step: int, sums: Sums) -> tuple[Sequence[Answers], Mapping[int, Sequence[Pair]], list[Row]]:
        """The step's answers, their labelled pairs, and corrected pairs of before, as the first process has them."""
        spec, extra = self.ctx.spec, list[Row]()
        if self._records:
            record = self._records[step - 1]
            answers, pairs = record.answers, record.pairs
        else:
            answers = self._drawn.pop(step)
            if self._scored:
                sums.add("objective/scores", flat(answers, lambda one, at: one.score(at)))
            lengths = flat(answers, lambda one, at: float(len(one.group.completions[at].ids)))
            sums.add("completions/mean_length", lengths)
            sums.add("val/contain_eos_token", flat(answers, lambda one, at: float(one.group.completions[at].finished)))
            pairs = self._pairs(step, answers, sums)
        self.ctx.between_passes()
        extra = self._heard.rows(step, batch=spec.objective.batch, seed=spec.seed)
        if extra:
            sums.add("memory/overrides", torch.tensor([float(len(extra))]))
        return answers, pairs, extra

    def _refresh(self, step: int) -> None:
        """Sample the answers of this step; if they are refreshed every k steps, those of the following steps too.

        Every process draws its share of the prompts; the first one puts them together, scores and logs them.
        """
        every, spec, ranks, online = self._online.refresh_steps, self.ctx.spec, self.ctx.ranks, self._online
        steps = range(step, min(step - (step - 1) % every + every - 1, self.n_steps) + 1)
        self._load_samplers()
        n_mine = len(ranks.share(range(spec.objective.batch))) if not self._one_server else spec.objective.batch
        done = itertools.count(1)

        def on_group(_: Group) -> None:
            self.ctx.progress("drawing", next(done), len(steps) * n_mine * len(online.draws), step=step)
            self.ctx.between_passes()

        def draw(questions: Sequence[Question], at: int) -> list[Answers]:
            return draw_answers(questions, online.draws, self._samplers, step=at, seed=spec.seed, on_group=on_group)

        drawn: dict[int, list[Answers]] = {}

        def keep(at: int, questions: Sequence[Question], parts: Sequence[Sequence[Answers]]) -> None:
            answers = dealt_back(parts) if parts else draw(questions, at)
            if self._scored and self._judge is not None:
                answers = with_scores(answers, self._judge.scores(at, answers))
            self._log.answers(at, step, answers)
            drawn[at] = answers

        for at in steps:
            questions = batch_of(self._questions, at, batch=spec.objective.batch, seed=spec.seed)
            parts = [] if self._one_server else ranks.gather(draw(ranks.share(questions), at))
            self.ctx.leave_the_step()
            ranks.by_main(partial(keep, at, questions, parts))
        self._drawn |= drawn

    def _load_samplers(self) -> None:
        """Give the samplers the weights as they are now: whole ones, where the processes share them."""
        policies, asked = self._policies, {draw.source for draw in self._online.draws}
        still = frozenset({"initial"} if self._online.anchor.moves else {"initial", "anchor"})
        if self.ctx.sharded:
            is_main, wanted = self.ctx.ranks.is_main, sorted(asked - (still & self._given))
            whole = {source: whole_model(policies[source].model, keep=is_main) for source in wanted}
            policies = {source: replace(policies[source], model=model) for source, model in whole.items()}
        self._samplers.load(policies, still=still)
        self._given |= asked

    def _pairs(self, step: int, answers: Sequence[Answers], sums: Sums) -> dict[int, list[Pair]]:
        if self._judge is None or self._step_loss.settings.rows != "pairs":
            return {}
        seed = shuffler_seed(self.ctx.spec.seed, "pairing", step)
        wanted = [
            (one, pair) for one in answers for pair in make_pairs(self._online.pairing, one.group, seed=seed).pairs
        ]
        pairs, n_dropped = labelled_pairs(self._judge, self._online.label, wanted, step=step, seed=self.ctx.spec.seed)
        self._log.labels(step, pairs)
        sums.add("labels/dropped", torch.tensor([float(n_dropped)]))
        return pairs

    @override
    def looked(self, step: int, pieces: Sequence[Piece], sums: Sums) -> None:
        if self._step_loss.rows_are_own and is_fresh(self.ctx.spec, step):
            add_fresh(self.ctx.spec, pieces, sums)

    @override
    def after(self, step: int, model: Any) -> None:
        if self._anchor is not None:
            self._anchor.follow(model, self.first_step + step)

    @override
    def consumed(self, step: int) -> int:
        return step * self.ctx.spec.objective.batch

    @override
    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        return self._anchor.tensors(keep=keep) if self._anchor is not None else {}

    @override
    def restore(self, tensors: dict[str, Tensor]) -> None:
        if self._anchor is not None:
            self._anchor.restore(tensors)

    @override
    def close(self) -> None:
        self._samplers.close()


def _drawn_before(earlier: Sequence[Event], step: int) -> dict[int, list[Answers]]:
    """Answers that were sampled for later steps before the run was resumed after `step`."""
    drawn = [event for event in drop_superseded(earlier) if event.type == "sample" and int(event.data["drawn"]) <= step]
    return {at: record.answers for at, record in records_of(drawn).items() if at > step}
