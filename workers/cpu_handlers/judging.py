"""Judging and scoring: a chunk of a run, written as it goes. What a judge already said is not asked again."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from apps.core.chunks import chunks
from apps.jobs.clock import database_now
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, JobStop, handler
from apps.judging.models import Judge, JudgeKind, JudgingRun, Score, Verdict
from apps.judging.selectors import scores_of
from apps.judging.services import ORDER_CODES, NewVerdict, judge_template, orders_for, scores_add, verdicts_add
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_key
from apps.rankings.preferences import preferences_derive
from apps.samples.models import Comparison, Completion, SamplingRun
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeError, JudgeUnreachable
from prefloop.judging.judge import LlmPairJudge
from prefloop.judging.render import template_from_text
from prefloop.judging.verdicts import Order
from prefloop.recipes.labelling import sigmoid
from prefloop.seeds import derive_seed
from prefloop.types import LabelledVerdict, PrefloopError
from prefloop.worlds.letters.judge_server import running_judge_server
from workers.worlds import utility_of

CALLS_AT_ONCE = 8
Item = tuple[Comparison, Order]


class NotAskable(PrefloopError):
    """A judge that can't be asked as it stands."""


@handler("judging.chunk", queue="cpu")
def judging_chunk(ctx: JobContext) -> dict[str, Any]:
    """Ask a judge about a chunk of comparisons: payload {run, start, stop}."""
    run = JudgingRun.objects.select_related("judge__endpoint", "judge__checkpoint", "project").get(
        pk=ctx.payload["run"]
    )
    ids = run.comparison_ids[ctx.payload["start"] : ctx.payload["stop"]]
    items = _unasked(run.judge, ids)
    ctx.progress(0, len(items), f"asking {run.judge.name}")
    ask = {
        JudgeKind.REWARD_MODEL: _ask_reward_model,
        JudgeKind.WORLD: _ask_world,
        JudgeKind.LLM: _ask_llm,
    }.get(JudgeKind(run.judge.kind))
    if ask is None:
        raise NotAskable(f"judge {run.judge.name!r} came with an import and can't be asked more")
    ask(ctx, run, items)
    with ctx.fenced():
        preferences_derive(project=run.project, comparison_ids=ids, now=database_now())
    return {"n_verdicts": len(items), "n_there_before": len(ids) - len({item[0].pk for item in items})}


def _unasked(judge: Judge, ids: Sequence[int]) -> list[Item]:
    """Return the comparisons and orders on which this judge has no verdict, be it one that says `error`."""
    said: set[tuple[int, str]] = set()
    rows: dict[int, Comparison] = {}
    for part in chunks(ids, 500):
        said |= set(Verdict.objects.filter(judge=judge, comparison_id__in=part).values_list("comparison_id", "order"))
        found = Comparison.objects.filter(pk__in=part).select_related("prompt", "first", "second")
        rows |= {comparison.pk: comparison for comparison in found}
    return [
        (rows[key], order)
        for key in ids
        if key in rows
        for order in orders_for(judge, key)
        if (key, ORDER_CODES[order]) not in said
    ]


def _ask_reward_model(ctx: JobContext, run: JudgingRun, items: list[Item]) -> None:
    completion_ids = sorted({pk for comparison, _ in items for pk in (comparison.first_id, comparison.second_id)})
    score(ctx, run.judge, completion_ids)
    scores = scores_of(run.judge, completion_ids)
    for part in chunks(items, 256):
        with ctx.fenced():
            verdicts_add(
                judge=run.judge,
                run=run,
                verdicts=[
                    _from_p(comparison, order, sigmoid(scores[comparison.first_id] - scores[comparison.second_id]))
                    for comparison, order in part
                ],
            )


def _ask_world(ctx: JobContext, run: JudgingRun, items: list[Item]) -> None:
    """The world's preference with the judge's noise: a coin of σ(difference of utility / noise), by the judge's seed.

    With `soft` in its options the probability itself is told; else only which side the coin fell on, as a person would.
    """
    utility = utility_of(run.project.world)
    if utility is None:
        raise NotAskable(f"project {run.project.slug} has no world whose preference could judge")
    noise = float(run.judge.options.get("noise", 0.0))
    soft = bool(run.judge.options.get("soft", False))
    for part in chunks(items, 256):
        ctx.check()
        verdicts = []
        for comparison, order in part:
            prompt = comparison.prompt.text
            difference = utility(prompt, comparison.first.text) - utility(prompt, comparison.second.text)
            p = sigmoid(difference / noise) if noise > 0 else _sign(difference)
            if soft:
                verdicts.append(_from_p(comparison, order, p))
                continue
            # keyed by the texts, so that the same pair is judged the same in any database
            seed = derive_seed(run.seed, "world", prompt, comparison.first.text, comparison.second.text)
            said = "tie" if p == 0.5 and noise == 0 else "first" if random.Random(seed).random() < p else "second"
            verdicts.append(
                NewVerdict(comparison.pk, ORDER_CODES[order], LabelledVerdict(state="ok", outcome=said))  # type: ignore[arg-type]
            )
        with ctx.fenced():
            verdicts_add(judge=run.judge, run=run, verdicts=verdicts)


def _ask_llm(ctx: JobContext, run: JudgingRun, items: list[Item]) -> None:
    judge = run.judge
    mode = "logprob" if judge.mode == "logprob" else "text"
    template = template_from_text(judge_template(judge), name=judge.name, mode=mode)  # type: ignore[arg-type]
    with _endpoint(judge) as endpoint:
        llm = LlmPairJudge(
            endpoint,
            template,
            judge.criterion,
            temperature=float(judge.options.get("temperature", 0.0)),
            max_tokens=int(judge.options.get("max_tokens", 1024)),
            seed=run.seed,
        )
        try:
            _ask_in_threads(ctx, run, items, _asker(llm))
        except JudgeUnreachable as error:
            raise JobFailure(FailureClass.JUDGE_UNREACHABLE, str(error), retry=True) from error
        except JudgeError as error:  # it answers, but not as a judge: somebody must put it right
            raise JobFailure(FailureClass.JUDGE_REFUSED, str(error)) from error


def _asker(llm: LlmPairJudge) -> Callable[[Item], NewVerdict]:
    def ask(item: Item) -> NewVerdict:
        comparison, order = item
        began = time.monotonic()
        verdict = llm.judge_pair(
            prompt=comparison.prompt.text, first=comparison.first.text, second=comparison.second.text, order=order
        )
        return NewVerdict(comparison.pk, ORDER_CODES[order], verdict, seconds=time.monotonic() - began)

    return ask


def _ask_in_threads(ctx: JobContext, run: JudgingRun, items: list[Item], ask: Callable[[Item], NewVerdict]) -> None:
    """Ask several at once, and write each answer as it comes: only the calls in flight can be lost, and paid twice.

    Trouble with the endpoint, or a worker that must leave, ends the asking; the calls in flight are waited for and
    written first.
    """
    waiting = deque(items)
    running: set[Future[NewVerdict]] = set()
    done = 0
    trouble: BaseException | None = None
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        while running or (waiting and trouble is None):
            # one alone first: a wrong URL is found by one call, not by eight
            room = CALLS_AT_ONCE if done else 1
            while waiting and trouble is None and len(running) < room:
                running.add(pool.submit(ask, waiting.popleft()))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            answers = []
            for future in ended:
                try:
                    answers.append(future.result())
                except PrefloopError as error:
                    trouble = trouble or error
            if answers:
                with ctx.fenced():
                    verdicts_add(judge=run.judge, run=run, verdicts=answers)
            done += len(answers)
            ctx.progress(done, len(items), f"{done} verdicts of {run.judge.name}")
            try:
                ctx.check()
            except JobStop as stop:
                trouble = trouble or stop
    if trouble is not None:
        raise trouble


@contextmanager
def _endpoint(judge: Judge) -> Iterator[ChatEndpoint]:
    """Open the judge's endpoint. A simulated one is started here, and allowed because it is ours."""
    endpoint = judge.endpoint
    if endpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no endpoint")
    if endpoint.base_url.startswith(SIMULATED_SCHEME):
        with running_judge_server(**endpoint.capabilities.get("biases", {})) as base_url:
            host_port = base_url.removeprefix("http://").split("/", 1)[0]
            with ChatEndpoint(base_url, endpoint.model, allow=[host_port]) as opened:
                yield opened
        return
    with ChatEndpoint(endpoint.base_url, endpoint.model, endpoint_key(endpoint), settings.ENDPOINT_ALLOW) as opened:
        yield opened


def _sign(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _from_p(comparison: Comparison, order: Order, p: float) -> NewVerdict:
    outcome = "tie" if p == 0.5 else "first" if p > 0.5 else "second"
    return NewVerdict(
        comparison.pk,
        ORDER_CODES[order],
        LabelledVerdict(state="ok", outcome=outcome, p_first=p),  # type: ignore[arg-type]
    )


@handler("scoring.chunk", queue="cpu")
def scoring_chunk(ctx: JobContext) -> dict[str, Any]:
    """Score the completions of a chunk of a sampling run: payload {judge, run, start, stop}."""
    judge = Judge.objects.select_related("checkpoint", "project").get(pk=ctx.payload["judge"])
    run = SamplingRun.objects.get(pk=ctx.payload["run"])
    prompts = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    ids = list(
        Completion.objects.filter(run=run, prompt_id__in=prompts)
        .order_by("prompt_id", "index")
        .values_list("id", flat=True)
    )
    return {"n_scored": score(ctx, judge, ids)}


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> int:
    """Store a score of this judge for each of the completions that has none; return how many were made."""
    there: set[int] = set()
    for part in chunks(completion_ids, 500):
        there |= set(Score.objects.filter(judge=judge, completion_id__in=part).values_list("completion_id", flat=True))
    todo = [pk for pk in completion_ids if pk not in there]
    done = 0
    for part in chunks(todo, 512):
        ctx.check()
        rows = list(
            Completion.objects.filter(pk__in=part).select_related("prompt").order_by("prompt_id", "index", "id")
        )
        values = _world_scores(judge, rows) if judge.kind == JudgeKind.WORLD else _reward_scores(judge, rows)
        with ctx.fenced():
            scores_add(judge=judge, scores=zip([row.pk for row in rows], values, strict=True))
        done += len(rows)
        ctx.progress(done, len(todo), "scoring")
    return len(todo)


def _world_scores(judge: Judge, rows: Sequence[Completion]) -> list[float]:
    utility = utility_of(judge.project.world)
    if utility is None:
        raise NotAskable(f"project {judge.project.slug} has no world whose preference could judge")
    return [utility(row.prompt.text, row.text) for row in rows]


def _reward_scores(judge: Judge, rows: Sequence[Completion]) -> list[float]:
    from workers.scoring import reward_scores_of

    if judge.checkpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no reward model")
    return reward_scores_of(judge.checkpoint, rows)
