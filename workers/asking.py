"""Asking endpoints: several calls at once, each paid for, each answer written as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.conf import settings

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, JobStop
from apps.judging.models import Judge
from apps.judging.services import judge_template
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_keeps_schema, endpoint_key
from apps.policies.models import Endpoint
from apps.policies.spending import CapReached, Hold, call_hold, calls_settle, tokens_at_most
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeError, JudgeUnreachable
from prefloop.judging.judge import LlmPairJudge, LlmScorer
from prefloop.judging.render import SCORE_MODES, Template, judge_mode, template_from_text
from prefloop.types import PrefloopError
from prefloop.worlds.letters.judge_server import running_judge_server

CALLS_AT_ONCE = 8
T = TypeVar("T")
R = TypeVar("R")


class NotAskable(PrefloopError):
    """A judge that can't be asked as it stands."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[R]):
    """What a call brought. `usage` as the endpoint told it; empty where it didn't."""

    result: R
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """What a language-model judge is asked with: a judge's own settings, or those of a draft that is tried."""

    endpoint: Endpoint
    template: Template
    criterion: str
    temperature: float = 0.0
    max_tokens: int = 1024
    samples: int = 1
    tie_delta: float = 0.0

    @classmethod
    def of(cls, judge: Judge) -> LlmSettings:
        if judge.endpoint is None:
            raise NotAskable(f"judge {judge.name!r} has no endpoint")
        return cls(
            endpoint=judge.endpoint,
            template=template_from_text(judge_template(judge), name=judge.name, mode=judge_mode(judge.mode)),
            criterion=judge.criterion,
            temperature=float(judge.options.get("temperature", 0.0)),
            max_tokens=int(judge.options.get("max_tokens", 1024)),
            samples=int(judge.options.get("samples", 1)),
            tie_delta=float(judge.options.get("tie_delta", 0.0)),
        )

    @property
    def grades(self) -> bool:
        return self.template.mode in SCORE_MODES

    def pair_judge(self, opened: ChatEndpoint, *, seed: int) -> LlmPairJudge:
        return LlmPairJudge(
            opened,
            self.template,
            self.criterion,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=seed,
            json_schema=endpoint_keeps_schema(self.endpoint) is not False,
        )

    def scorer(self, opened: ChatEndpoint, *, seed: int) -> LlmScorer:
        return LlmScorer(
            opened,
            self.template,
            self.criterion,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=seed,
        )


class Meter:
    """Holds and settles what the calls to one endpoint take. The simulated judge costs nothing and is not metered."""

    def __init__(self, settings_: LlmSettings, *, purpose: str, note: str = "", n_calls: int = 1) -> None:
        self._endpoint_id = settings_.endpoint.pk
        self._free = settings_.endpoint.base_url.startswith(SIMULATED_SCHEME)
        self._purpose, self._note, self._n_calls = purpose, note, n_calls
        self._fixed = tokens_at_most(settings_.template.system, settings_.template.user, settings_.criterion)
        self._reply = 1 if settings_.template.mode in ("logprob", "soft") else settings_.max_tokens

    def hold(self, *texts: str) -> Hold:
        """Hold the most that the calls with these texts can take. Raises CapReached."""
        if self._free:
            return Hold(0, 0, 0)
        return call_hold(
            endpoint_id=self._endpoint_id,
            prompt_tokens=self._n_calls * (self._fixed + tokens_at_most(*texts)),
            completion_tokens=self._n_calls * self._reply,
            n_calls=self._n_calls,
        )

    def take(self, calls: Sequence[tuple[dict[str, int], tuple[str, ...]]]) -> None:
        """Write down calls made elsewhere, as (usage, texts shown). Raises CapReached where no other may follow.

        What the endpoint did not tell counts as the most it could be.
        """
        if self._free:
            return
        told = []
        for usage, texts in calls:
            most = {"prompt_tokens": self._fixed + tokens_at_most(*texts), "completion_tokens": self._reply}
            told.append((Hold(0, 0, 0), {**most, **usage}))
        self.settle(told)
        self.settle([(self.hold(), None)])

    def settle(self, calls: Sequence[tuple[Hold, dict[str, int] | None]]) -> None:
        if not self._free and calls:
            calls_settle(endpoint_id=self._endpoint_id, calls=calls, purpose=self._purpose, note=self._note)


@contextmanager
def answering(endpoint: Endpoint) -> Iterator[tuple[str, str, list[str]]]:
    """Give the base URL where an endpoint answers, its key, and the hosts that may be private.

    A simulated one is started here, and allowed because it is ours.
    """
    if endpoint.base_url.startswith(SIMULATED_SCHEME):
        with running_judge_server(**endpoint.capabilities.get("biases", {})) as base_url:
            yield base_url, "", [base_url.removeprefix("http://").split("/", 1)[0]]
        return
    yield endpoint.base_url, endpoint_key(endpoint), list(settings.ENDPOINT_ALLOW)


@contextmanager
def opened(endpoint: Endpoint) -> Iterator[ChatEndpoint]:
    """Open an endpoint."""
    with answering(endpoint) as (base_url, key, allow), ChatEndpoint(base_url, endpoint.model, key, allow) as client:
        yield client


@contextmanager
def failures() -> Iterator[None]:
    """Say whose failure it was: nobody there (tried again by itself), no judge, or no money left."""
    try:
        yield
    except JudgeUnreachable as error:
        raise JobFailure(FailureClass.JUDGE_UNREACHABLE, str(error), retry=True) from error
    except JudgeError as error:  # it answers, but not as a judge: somebody must put it right
        raise JobFailure(FailureClass.JUDGE_REFUSED, str(error)) from error
    except CapReached as error:
        raise JobFailure(FailureClass.CAP_REACHED, str(error)) from error


def ask_in_threads(
    ctx: JobContext,
    items: Sequence[T],
    *,
    texts: Callable[[T], tuple[str, ...]],
    ask: Callable[[T], Asked[R]],
    write: Callable[[list[R]], None],
    meter: Meter,
    words: str,
) -> None:
    """Ask about several items at once, and write each answer as it comes: only calls in flight can be lost.

    `texts` are those that the item's request shows, for the most that it can cost. `write` runs in a fenced
    transaction, which settles the calls too. Trouble with the endpoint, a cap that is reached, or a worker that must
    leave, ends the asking; the calls in flight are waited for and written first.
    """
    waiting = deque(items)
    running: dict[Future[Asked[R]], Hold] = {}
    done = 0
    trouble: BaseException | None = None
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        while running or (waiting and trouble is None):
            # one alone first: a wrong URL is found by one call, not by eight
            room = CALLS_AT_ONCE if done else 1
            while waiting and trouble is None and len(running) < room:
                try:
                    held = meter.hold(*texts(waiting[0]))
                except CapReached as error:
                    trouble = error
                    break
                running[pool.submit(ask, waiting.popleft())] = held
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            answers: list[Asked[R]] = []
            calls: list[tuple[Hold, dict[str, int] | None]] = []
            for future in ended:
                held = running.pop(future)
                try:
                    answer = future.result()
                except PrefloopError as error:
                    trouble = trouble or error
                    calls.append((held, None))
                else:
                    answers.append(answer)
                    calls.append((held, answer.usage))
            if answers:
                with ctx.fenced():
                    write([answer.result for answer in answers])
                    meter.settle(calls)
            else:
                meter.settle(calls)
            done += len(answers)
            ctx.progress(done, len(items), f"{done} {words}")
            try:
                ctx.check()
            except JobStop as stop:
                trouble = trouble or stop
    if trouble is not None:
        raise trouble
