"""Who scores and who compares inside a step: a reward model, a world's utility, or a judge behind an endpoint."""

from __future__ import annotations

import importlib
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from prefloop.config import ConfigError
from prefloop.engine.online.objectives import Answers
from prefloop.engine.online.stream import StreamLog
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeError
from prefloop.judging.judge import LlmPairJudge
from prefloop.judging.render import template_from_text
from prefloop.judging.verdicts import Order, OrderedVerdict, combine, orders_to_ask
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import RewardModel, load_reward_model
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.scoring import reward_scores
from prefloop.recipes.labelling import sigmoid, with_noise
from prefloop.recipes.online import JudgeSpec
from prefloop.recipes.recipe import Label
from prefloop.seeds import derive_seed, labeller_seed
from prefloop.types import LabelledVerdict, Pair

CALLS_AT_ONCE = 8


class Scorer(Protocol):
    """A number for each answer, in the order of the answers."""

    def __call__(self, answers: Sequence[Answers]) -> list[list[float]]: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the judge answers and with which key; it comes by pipe and is written nowhere."""

    base_url: str
    api_key: str = field(default="", repr=False)
    allow: tuple[str, ...] = ()


def read_connection(line: str) -> Connection:
    """Read the line that `--connection-from-stdin` gets. Raises ValueError for another one, without saying it."""
    try:
        data = json.loads(line)
        return Connection(str(data["base_url"]), str(data.get("api_key", "")), tuple(data.get("allow", ())))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("standard input did not hold a connection") from None


def reward_scorer(
    path: Path, *, device: str | torch.device, dtype: torch.dtype, tokenizer: Any, token_budget: int
) -> Scorer:
    """Score by a reward model; token ids are its own where it reads the policy's tokens, else the texts'."""
    model = load_reward_model(path, device=device, dtype=dtype)
    same = _same_tokens(model, tokenizer)

    def score(answers: Sequence[Answers]) -> list[list[float]]:
        items = []
        for one in answers:
            prompt = one.prompt_ids if same else encode_prompt(model.tokenizer, one.prompt)
            completions = one.group.completions
            ids = [answer.ids if same else encode_completion(model.tokenizer, answer.text) for answer in completions]
            items.append(PackItem(prompt, tuple(ids)))
        return reward_scores(model, items, token_budget=token_budget)

    return score


def world_scorer(world: str) -> Scorer:
    """Score by a world's known utility. Worlds build on the engine, so one is found by its name, as a plug-in is."""
    if not re.fullmatch(r"[a-z_]+", world):
        raise ConfigError(f"no world {world!r}")
    try:
        utility: Callable[[str, str], float] = importlib.import_module(f"prefloop.worlds.{world}.utility").utility
    except (ImportError, AttributeError):
        raise ConfigError(f"no world {world!r} is installed") from None
    return lambda answers: [
        [utility(prompt_text(one.prompt), answer.text) for answer in one.group.completions] for one in answers
    ]


def prompt_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(str(message["content"]) for message in prompt)


class PairLabeller(Protocol):
    """Gives each pair its verdicts, and with them the p that its judge's order policy makes of them."""

    def label(self, step: int, wanted: Sequence[tuple[Answers, Pair]]) -> list[float | None]:
        """Return p of each pair, None where there is no label. Raises JudgeError where nobody can be asked."""
        ...


class ScoreLabeller:
    """Compares by the difference of two scores: one forward pass for all pairs, no order in which they are shown."""

    def __init__(self, log: StreamLog, scorer: Scorer, *, coin: JudgeSpec | None = None, seed: int = 0) -> None:
        self._log, self._scorer, self._coin, self._seed = log, scorer, coin, seed

    def label(self, step: int, wanted: Sequence[tuple[Answers, Pair]]) -> list[float | None]:
        groups = {one.row: one for one, _ in wanted}
        unscored = [one for one in groups.values() if one.group.scores is None]
        found = dict(zip([one.row for one in unscored], self._scorer(unscored) if unscored else [], strict=True))
        scores = {row: found[row] if row in found else list(one.group.scores or ()) for row, one in groups.items()}
        out: list[float | None] = []
        for one, pair in wanted:
            p = self._p(one, pair, scores[one.row])
            outcome = "tie" if p == 0.5 else "first" if p > 0.5 else "second"
            verdict = LabelledVerdict(state="ok", outcome=outcome, p_first=p)  # type: ignore[arg-type]
            self._log.verdict(step, one, pair, OrderedVerdict((0, 1), verdict))
            out.append(p)
        return out

    def _p(self, one: Answers, pair: Pair, scores: Sequence[float]) -> float:
        difference = scores[pair.i] - scores[pair.j]
        if self._coin is None:
            return sigmoid(difference)
        if self._coin.noise <= 0:
            return 0.5 if difference == 0 else float(difference > 0)
        p = sigmoid(difference / self._coin.noise)
        if self._coin.soft:
            return p
        texts = [one.group.completions[at].text for at in (pair.i, pair.j)]
        seed = derive_seed(self._coin.seed, "world", prompt_text(one.prompt), *texts)
        return float(random.Random(seed).random() < p)


class JudgeLabeller:
    """Asks a language model about each pair in every order that its policy needs, several calls at once."""

    def __init__(self, log: StreamLog, spec: JudgeSpec, connection: Connection) -> None:
        self._log, self._spec = log, spec
        self._endpoint = ChatEndpoint(connection.base_url, spec.model, connection.api_key, connection.allow)
        self._judge = LlmPairJudge(
            self._endpoint,
            template_from_text(spec.template, name=spec.name, mode=spec.mode),
            spec.criterion,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            seed=spec.seed,
        )

    def label(self, step: int, wanted: Sequence[tuple[Answers, Pair]]) -> list[float | None]:
        verdicts: dict[int, list[OrderedVerdict]] = {at: [] for at in range(len(wanted))}
        to_ask: list[tuple[int, Order]] = []
        for at, (one, pair) in enumerate(wanted):
            for order in orders_to_ask(self._spec.order_policy, seed=self._spec.seed, comparison_id=_name(step, one)):
                earlier = self._log.earlier_verdict(step, one, pair, order)
                if earlier is None:
                    to_ask.append((at, order))
                else:
                    verdicts[at].append(OrderedVerdict(order, earlier))
                    self._log.verdict(step, one, pair, verdicts[at][-1])
        for at, found in self._ask(step, wanted, to_ask):
            verdicts[at].append(found)
        labels = [
            combine(verdicts[at], self._spec.order_policy, seed=self._spec.seed, comparison_id=_name(step, one))
            for at, (one, _) in enumerate(wanted)
        ]
        return [label.p_first if label is not None and label.state == "ok" else None for label in labels]

    def _ask(
        self, step: int, wanted: Sequence[tuple[Answers, Pair]], to_ask: Sequence[tuple[int, Order]]
    ) -> Iterator[tuple[int, OrderedVerdict]]:
        """Ask, and write each answer as it comes; trouble is raised when the calls in flight are written."""
        waiting = list(reversed(to_ask))
        running: dict[Future[tuple[LabelledVerdict, float]], tuple[int, Order]] = {}
        trouble: JudgeError | None = None
        answered = False
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            while running or (waiting and trouble is None):
                # one alone first: a judge that is down is found by one call, not by eight
                while waiting and trouble is None and len(running) < (CALLS_AT_ONCE if answered else 1):
                    at, order = waiting.pop()
                    running[pool.submit(self._call, *wanted[at], order)] = (at, order)
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    at, order = running.pop(future)
                    try:
                        verdict, seconds = future.result()
                    except JudgeError as error:
                        trouble = trouble or error
                        continue
                    answered = True
                    found = OrderedVerdict(order, verdict)
                    self._log.verdict(step, *wanted[at], found, seconds=seconds)
                    yield at, found
        if trouble is not None:
            raise trouble

    def _call(self, one: Answers, pair: Pair, order: Order) -> tuple[LabelledVerdict, float]:
        began = time.monotonic()
        first, second = (one.group.completions[at].text for at in (pair.i, pair.j))
        verdict = self._judge.judge_pair(prompt=prompt_text(one.prompt), first=first, second=second, order=order)
        return verdict, time.monotonic() - began


def labelled_pairs(
    labeller: PairLabeller,
    settings: Label,
    wanted: Sequence[tuple[Answers, Pair]],
    *,
    step: int,
    seed: int,
) -> tuple[dict[int, list[Pair]], int]:
    """Return the pairs with the p they are trained with, by the prompt's place in the step, and how many fell out.

    A tie makes a pair only where labels stay soft. Two equal answers never do: their gradient is 0, their loss is not.
    """
    unequal = [
        (one, pair) for one, pair in wanted if one.group.completions[pair.i].ids != one.group.completions[pair.j].ids
    ]
    out: dict[int, list[Pair]] = {}
    for (one, pair), p in zip(unequal, labeller.label(step, unequal), strict=True):
        p_first = None if p is None else _as_trained(settings, p, one, pair, seed=labeller_seed(seed, "step", step))
        if p_first is not None:
            out.setdefault(one.row, []).append(Pair(pair.i, pair.j, p_first))
    return out, len(wanted) - sum(map(len, out.values()))


def _as_trained(settings: Label, p: float, one: Answers, pair: Pair, *, seed: int) -> float | None:
    rng = random.Random(derive_seed(seed, one.prompt_id, pair.i, pair.j))
    if settings.labels == "sampled":
        p = float(rng.random() < p)
    elif settings.labels == "hard":
        if p == 0.5:
            return None
        p = float(p > 0.5)
    return with_noise(settings, p, rng=rng)


def _name(step: int, one: Answers) -> str:
    return f"{step}:{one.row}"


def _same_tokens(model: RewardModel, tokenizer: Any) -> bool:
    ours, theirs = (getattr(one, "backend_tokenizer", None) for one in (tokenizer, model.tokenizer))
    same_words = ours is not None and theirs is not None and ours.to_str() == theirs.to_str()
    return bool(same_words and tokenizer.chat_template == model.tokenizer.chat_template)
