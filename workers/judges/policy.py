"""A policy of the project compares two answers, or grades each several times, through this worker's engines; no
endpoint is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from apps.jobs.bulk import is_bulk
from apps.jobs.registry import JobContext
from apps.judging.specs import spec_of
from apps.labels.models import Judge, JudgingRun
from apps.labels.services import verdicts_add
from apps.policies.models import Checkpoint
from prefloop.bulk.work import Said
from prefloop.judging.judge import Endpoint
from prefloop.judging.modes import BY_LOGPROB
from prefloop.judging.verdicts import ORDER_CODES
from prefloop.recipes import engines as settings_of_engines
from prefloop.types import LabelledVerdict
from workers import bulk
from workers.asking import failures
from workers.judges.stored import Item, ask_pairs, new_verdict, question_of, unscored


def compare(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    if is_bulk(ctx.payload):
        _compare_in_bulk(ctx, judge, run, items)
        return
    with failures(), policy_endpoint(judge, n_answers=len(items), check=ctx.check) as endpoint:
        ask_pairs(ctx, judge, run, items, endpoint, None)


def _compare_in_bulk(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    """Have many engines compare, on a cluster."""
    checkpoint = _checkpoint(judge)
    engine = settings_of_engines.choose(_engine(judge), bulk.machine(), n_answers=run.n_comparisons)
    spec = spec_of(judge, seed=run.seed)
    by_key = {f"{item[0].pk}:{ORDER_CODES[item[1]]}:{item[2]}": item for item in items}

    def write(said: list[Said]) -> None:
        new = [
            new_verdict(
                by_key[one.key], LabelledVerdict(**{**one.said, "flags": tuple(one.said["flags"])}), one.seconds
            )
            for one in said
        ]
        verdicts_add(judge=judge, run=run, verdicts=new)

    bulk.ask_engines(
        ctx,
        bulk.work_of(checkpoint, engine.name, at_once=judge.at_once, judge=spec),
        {key: asdict(question_of(item)) for key, item in by_key.items()},
        name=f"job-{ctx.job_id}",
        size=bulk.piece_size(checkpoint, tokens=1 if judge.mode in BY_LOGPROB else spec.max_tokens),
        write=write,
        words=f"verdicts of {judge.name}",
    )


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

    checkpoint = _checkpoint(judge)
    top_p = float(judge.options["top_p"])
    found = settings_of_engines.choose(_engine(judge), engines.machine(), n_answers=n_answers)
    if found.name == settings_of_engines.VLLM.name:
        with engines.vllm(checkpoint, check=check) as (endpoint, reader):
            yield ServedPolicyEndpoint(endpoint, reader, top_p)
    else:
        yield PolicyEndpoint(model_cache.policy(checkpoint), top_p=top_p)


def _checkpoint(judge: Judge) -> Checkpoint:
    if judge.checkpoint is None:
        raise AssertionError("a policy that judges has weights")  # a constraint of the table
    return judge.checkpoint


def _engine(judge: Judge) -> str:
    return str(judge.options.get("engine", settings_of_engines.AUTO))
