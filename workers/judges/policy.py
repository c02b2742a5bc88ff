"""A policy of the project compares two answers, or grades each several times, through this worker's engines; no
endpoint is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.judge import Endpoint
from prefloop.recipes import engines as settings_of_engines
from workers.asking import failures
from workers.judges.stored import Item, ask_pairs, unscored


def compare(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    with failures(), policy_endpoint(judge, n_answers=len(items), check=ctx.check) as endpoint:
        ask_pairs(ctx, judge, run, items, endpoint, None)


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    from workers.own_scores import score_by_policy

    todo = unscored(judge, completion_ids)
    score_by_policy(ctx, judge, todo)
    return len(todo)


@contextmanager
def policy_endpoint(judge: Judge, *, n_answers: int, check: Callable[[], None]) -> Iterator[Endpoint]:
    """Lend the policy as an endpoint, by the engine that the judge's options name."""
    from prefloop.policy.chat_endpoint import PolicyEndpoint, ServedPolicyEndpoint
    from workers import engines, model_cache

    if judge.checkpoint is None:
        raise AssertionError("a policy that judges has weights")  # a constraint of the table
    top_p = float(judge.options["top_p"])
    wanted = str(judge.options.get("engine", settings_of_engines.AUTO))
    found = settings_of_engines.choose(wanted, engines.machine(), n_answers=n_answers)
    if found.name == settings_of_engines.VLLM.name:
        with engines.vllm(judge.checkpoint, check=check) as (endpoint, reader):
            yield ServedPolicyEndpoint(endpoint, reader, top_p)
    else:
        yield PolicyEndpoint(model_cache.policy(judge.checkpoint), top_p=top_p)
