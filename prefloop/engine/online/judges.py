"""The judge of a step: what it scores and compares, in the run's log before it is used."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefloop.engine.context import RunContext
from prefloop.engine.online.stream import StreamLog
from prefloop.engine.step_losses import Answers
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.judge import Endpoint
from prefloop.judging.kinds import REWARD_MODEL, kind_of
from prefloop.judging.metering import Meter, RemoteMeter
from prefloop.judging.opened import Compute, ToJudge, open_judge
from prefloop.judging.spec import JudgeSpec
from prefloop.policy.chat_endpoint import PolicyEndpoint
from prefloop.policy.loading import RewardModel, load_policy, load_reward_model
from prefloop.policy.prompts import Answered
from prefloop.policy.scoring import answer_scores
from prefloop.policy.vllm_client import ServedModel
from prefloop.preference import outcome_at
from prefloop.recipes.labelling import as_trained
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.recipe import Label
from prefloop.seeds import derive_seed, labeller_seed
from prefloop.types import Pair, mean


@dataclass(frozen=True, slots=True)
class Connection:
    """Where judges answer and the vLLM server that samples, each with its key; by pipe, and written nowhere.

    `members`: of an ensemble's, by their keys. `meter`: the socket by which the worker keeps the judges' caps.
    """

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    allow: tuple[str, ...] = ()
    sampler: ServedModel | None = None
    members: Mapping[str, Connection] = field(default_factory=dict)
    meter: socket.socket | None = None

    def of(self, spec: JudgeSpec) -> Connection:
        """Where this judge, or member, answers: by its spec where nothing was told."""
        found = self.members.get(spec.key, self) if spec.key else self
        return found if found.base_url else Connection(spec.base_url)


def read_connection(line: str) -> Connection:
    """Read the line for `--connection-from-stdin`. Raises ValueError for an invalid one, without showing it."""
    try:
        data = json.loads(line)
        sampler = ServedModel(**data["sampler"]) if "sampler" in data else None
        members = {key: _address(one) for key, one in data.get("members", {}).items()}
        meter = socket.socket(fileno=data["meter"]) if "meter" in data else None
        judge = _address(data) if sampler is None and not members else _address({"base_url": "", **data})
        return Connection(judge.base_url, judge.api_key, judge.allow, sampler, members, meter)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise ValueError("standard input did not hold a connection") from None


def inherited(line: str) -> tuple[int, ...]:
    """List the open files that the line for `--connection-from-stdin` names, for the process that will read it."""
    try:
        return (int(json.loads(line)["meter"]),)
    except (ValueError, KeyError, TypeError):
        return ()


def _address(data: Mapping[str, Any]) -> Connection:
    return Connection(str(data["base_url"]), str(data.get("api_key", "")), tuple(data.get("allow", ())))


def judge_of(online: OnlineSpec) -> JudgeSpec | None:
    """The judge of a run: as it is told, or the reward model that scores; None where it has neither."""
    if online.reward_model is None:
        return online.judge
    return JudgeSpec(kind=REWARD_MODEL.name, checkpoint=online.reward_model)


def checkpoints_of(spec: JudgeSpec) -> list[str]:
    """List the models that a judge, or its members, computes with."""
    return [one.checkpoint for one in (spec, *spec.members) if one.checkpoint]


class StepTools:
    """What a judge needs, reached from the training process."""

    def __init__(self, ctx: RunContext, connection: Connection, tokenizer: Any) -> None:
        self._ctx, self._connection, self._tokenizer = ctx, connection, tokenizer
        self._loaded: dict[str, PolicyEndpoint] = {}

    def check(self) -> None:
        self._ctx.between_passes()

    def endpoint(self, spec: JudgeSpec) -> Endpoint:
        if kind_of(spec.kind).endpoint:
            told = self._connection.of(spec)
            return ChatEndpoint(told.base_url, spec.model, told.api_key, told.allow)
        if spec.checkpoint not in self._loaded:
            path = self._ctx.path(spec.checkpoint)
            policy = load_policy(path, device=self._ctx.device, dtype=self._ctx.precision_of(spec.checkpoint).dtype)
            self._loaded[spec.checkpoint] = PolicyEndpoint(policy, top_p=spec.top_p)
        return self._loaded[spec.checkpoint]

    def meter(self, spec: JudgeSpec) -> Meter | None:
        link = self._connection.meter
        if link is None or not kind_of(spec.kind).costs:
            return None
        return RemoteMeter(link, spec.key, check=self.check)

    def rewards(self, spec: JudgeSpec) -> Compute:
        """Score by a reward model; token ids are its own where it reads the policy's tokens, else the texts'."""
        dtype = self._ctx.precision_of(spec.checkpoint).dtype  # a worker that scores with it finds the same
        model = load_reward_model(self._ctx.path(spec.checkpoint), device=self._ctx.device, dtype=dtype)
        same = _same_tokens(model, self._tokenizer)

        def compute(groups: Sequence[ToJudge]) -> list[list[ScoredAnswer]]:
            rows = [
                Answered(asked.prompt, one.answers, tuple(a.ids if same else () for a in asked.group.completions))
                for one in groups
                for _, asked in [one.of]
            ]
            scores = answer_scores(model, rows, token_budget=self._ctx.passes.tokens)
            return [[ScoredAnswer(value=value) for value in values] for values in scores]

        return compute


class StepJudge:
    """A judge of any kind, asked about the answers of a step."""

    def __init__(
        self,
        spec: JudgeSpec,
        log: StreamLog,
        tools: StepTools,
        metadata: Mapping[str, Mapping[str, Any]],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._judge, self._metadata, self._tell = open_judge(spec, log, tools), metadata, tell

    def labels(self, step: int, wanted: Sequence[tuple[Answers, Pair]]) -> list[float | None]:
        """Return p of each pair, None where there is no label. Raises JudgeError where nobody can be asked."""
        groups = {one.row: self._group(step, one) for one, _ in wanted}
        labels = self._judge.labels([(groups[one.row], (pair.i, pair.j)) for one, pair in wanted])
        return [label.p_first if label.state == "ok" else None for label in labels]

    def scores(self, step: int, answers: Sequence[Answers]) -> list[list[float]]:
        """Return a number for each answer. Raises JudgeError.

        An answer that has none (its grade can't be read, no rule holds for its prompt) gets the mean of the others to
        its prompt, else of the step's, else 0, and the run's log says how many did. A group baseline gives it an
        advantage of 0: RLOO and Dr. GRPO learn from the others as without it, in the same directions and by a smaller
        factor (RLOO); GRPO's deviation, which it lowers, makes the others' advantages larger.
        """
        found = self._judge.scores([self._group(step, one) for one in answers])
        n_without = sum(value is None for values in found for value in values)
        if n_without:
            told = f"{n_without} of {sum(map(len, found))} answers have no score"
            self._tell(f"step {step}: {told}; each gets the mean of the others to its prompt, else of the step")
        of_step = [value for values in found for value in values if value is not None]
        out = []
        for values in found:
            known = [value for value in values if value is not None] or of_step or [0.0]
            out.append([mean(known) if value is None else value for value in values])
        return out

    def _group(self, step: int, one: Answers) -> ToJudge:
        return ToJudge(
            key=f"{step}:{one.row}",
            prompt=prompt_text(one.prompt),
            answers=tuple(answer.text for answer in one.group.completions),
            metadata=self._metadata.get(one.prompt_id, {}),
            scores=one.group.scores,
            of=(step, one),
        )


def prompt_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(str(message["content"]) for message in prompt)


def labelled_pairs(
    judge: StepJudge, settings: Label, wanted: Sequence[tuple[Answers, Pair]], *, step: int, seed: int
) -> tuple[dict[int, list[Pair]], int]:
    """Return the pairs with their training p, by the prompt's index in the step, and how many were dropped.

    A tie makes a pair only where labels stay soft. Two equal answers never do: their gradient is 0, their loss is not.
    """
    unequal = [
        (one, pair) for one, pair in wanted if one.group.completions[pair.i].ids != one.group.completions[pair.j].ids
    ]
    out: dict[int, list[Pair]] = {}
    for (one, pair), p in zip(unequal, judge.labels(step, unequal), strict=True):
        if p is None or (settings.labels == "hard" and outcome_at(p) == "tie"):
            continue
        rng = random.Random(derive_seed(labeller_seed(seed, "step", step), one.prompt_id, pair.i, pair.j))
        out.setdefault(one.row, []).append(Pair(pair.i, pair.j, as_trained(settings, p, rng=rng)))
    return out, len(wanted) - sum(map(len, out.values()))


def _same_tokens(model: RewardModel, tokenizer: Any) -> bool:
    ours, theirs = (getattr(one, "backend_tokenizer", None) for one in (tokenizer, model.tokenizer))
    same_words = ours is not None and theirs is not None and ours.to_str() == theirs.to_str()
    return bool(same_words and tokenizer.chat_template == model.tokenizer.chat_template)
