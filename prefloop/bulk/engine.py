"""An engine that answers pieces of questions: a policy in this process, or behind a vLLM server that is started here.

Judges are asked as everywhere else (`ask_all`, with their own retries and verdict states), and answers are drawn as
from any vLLM server (`draw_all`). Imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from prefloop.bulk.work import Said, Work
from prefloop.engine.precision import choose
from prefloop.judging.asking import Asked, Question, ask_all
from prefloop.judging.errors import JudgeUnreachable
from prefloop.judging.judge import Endpoint, pair_judge
from prefloop.judging.spec import JudgeSpec
from prefloop.policy.chat_endpoint import PolicyEndpoint, ServedPolicyEndpoint
from prefloop.policy.loading import Reader, load_policy, load_reader
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt
from prefloop.policy.served import Drawn, VllmSampler, Wanted, draw_all
from prefloop.policy.vllm_server import VllmServer, start_vllm
from prefloop.recipes.engines import VLLM
from prefloop.types import LabelledVerdict

Questions = Sequence[tuple[str, Mapping[str, Any]]]
Keep = Callable[[Said], None]


class Answerer(Protocol):
    """Answers pieces of questions, several pieces at the same time."""

    def answer(self, questions: Questions, keep: Keep) -> None:
        """Answer the questions; `keep` gets each answer as it comes. Raises PrefloopError."""
        ...


class Judging:
    """A judge that compares two answers."""

    def __init__(self, spec: JudgeSpec, endpoint: Endpoint, *, at_once: int) -> None:
        self._judge, self._at_once = pair_judge(spec, endpoint), at_once

    def answer(self, questions: Questions, keep: Keep) -> None:
        def kept(asked: list[Asked[str, LabelledVerdict]]) -> None:
            for one in asked:
                for reply in one.replies:
                    keep(Said(one.item, asdict(reply.said), reply.seconds))

        ask_all(self._judge, [(key, [_question(one)]) for key, one in questions], keep=kept, at_once=self._at_once)


def _question(one: Mapping[str, Any]) -> Question:
    first, second = one["order"]
    return Question(one["prompt"], tuple(one["answers"]), (first, second), one["sample"])


class Drawing:
    """A policy that answers prompts."""

    def __init__(self, sampler: VllmSampler, reader: Reader, *, at_once: int) -> None:
        self._sampler, self._reader, self._at_once = sampler, reader, at_once
        self._encoding = threading.Lock()  # a tokenizer's cache is not made for threads

    def answer(self, questions: Questions, keep: Keep) -> None:
        keys = {(one["id"], one["k"]): key for key, one in questions}
        with self._encoding:
            ids = encode_named(self._reader.tokenizer, list({one["id"]: one["prompt"] for _, one in questions}.items()))
        wanted = [Wanted(SamplePrompt(one["id"], ids[one["id"]]), one["k"]) for _, one in questions]

        def take(item: Wanted[SamplePrompt], drawn: Drawn) -> None:
            keep(Said(keys[item.prompt.id, item.k], asdict(drawn.completion), 0.0))

        draw_all(self._sampler, wanted, on_drawn=take, at_once=self._at_once)


@dataclass(frozen=True, slots=True)
class Watched:
    """Whoever answers by a vLLM server; where that has ended, the error says why."""

    answerer: Answerer
    server: VllmServer

    def answer(self, questions: Questions, keep: Keep) -> None:
        try:
            self.answerer.answer(questions, keep)
        except JudgeUnreachable as error:
            if self.server.alive():
                raise
            raise JudgeUnreachable(str(self.server.failure())) from error


def opened(work: Work, name: str) -> Answerer:
    """Open the engine of a work, which lives as long as this process. `name`: of its log. Raises PrefloopError."""
    directory, device = Path(work.checkpoint), "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(work.threads)
    dtype = choose(
        directory, setting=work.precision, device_type=device, threads=work.threads, folder=Path(work.folder)
    ).dtype
    if work.engine != VLLM.name:
        if work.judge is None:
            raise AssertionError("answers to prompts are drawn by vLLM")
        policy = load_policy(directory, device=device, dtype=dtype)
        return Judging(work.judge, PolicyEndpoint(policy, top_p=work.judge.top_p), at_once=work.at_once)
    reader = load_reader(directory)
    server = start_vllm(
        directory,
        python=work.vllm_python,
        log_path=Path(work.folder) / "vllm" / f"{name}.log",
        dtype="bfloat16" if dtype == torch.bfloat16 else "float32",  # vLLM has no float64
        on_cpu=device == "cpu",
        arguments=work.vllm_arguments,
    )
    if work.judge is not None:
        served = ServedPolicyEndpoint(server.endpoint(), reader, work.judge.top_p)
        return Watched(Judging(work.judge, served, at_once=work.at_once), server)
    if work.draws is None:
        raise AssertionError("a work judges pairs or answers prompts")
    sampler = VllmSampler(server.endpoint(), reader, **asdict(work.draws))
    return Watched(Drawing(sampler, reader, at_once=work.at_once), server)
