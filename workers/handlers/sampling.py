"""Sampling a chunk of a run's prompts, written prompt by prompt, so that another attempt only does the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from apps.core.chunks import chunks
from apps.jobs.bulk import is_bulk
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.prompts.models import Prompt
from apps.samples.models import Completion, Engine, SamplingRun
from apps.samples.services import answers_stored
from prefloop.bulk.work import Draws, Said
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.served import Drawn, VllmSampler
from prefloop.types import Completion as DrawnCompletion
from prefloop.types import Group, PrefloopError
from workers import bulk, engines, model_cache, pieces
from workers.served_sampling import answers_write, completion_of, draw_served, missing_answers

COMPLETIONS_AT_ONCE = 512


class NotAnswerable(PrefloopError):
    """The run has no model to answer."""


@handler("sampling.chunk", queue="gpu")
def sampling_chunk(ctx: JobContext) -> dict[str, Any]:
    """Sample what is missing of a chunk: payload {run, start, stop} (positions in the run's prompts)."""
    run = SamplingRun.objects.select_related("checkpoint").get(pk=ctx.payload["run"])
    ids = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    if run.checkpoint is None:
        raise NotAnswerable(f"sampling run {run.pk} has no checkpoint")
    n_before = draw(ctx=ctx, run=run, prompt_ids=ids)
    return {"n_prompts": len(ids), "n_there_before": n_before}


def draw(*, ctx: JobContext, run: SamplingRun, prompt_ids: list[int]) -> int:
    """Sample and store the missing answers; return how many prompts (with vLLM: answers) were done before."""
    checkpoint = run.checkpoint
    if checkpoint is None:
        raise NotAnswerable(f"sampling run {run.pk} has no checkpoint")
    bulk_wanted = is_bulk(ctx.payload)
    engines.settle(ctx, run, bulk.machine() if bulk_wanted else engines.machine())
    if run.engine == Engine.VLLM and bulk_wanted:
        return _draw_in_bulk(ctx, run, checkpoint, prompt_ids)
    if run.engine == Engine.VLLM:
        return _draw_by_vllm(ctx, run, checkpoint, prompt_ids)
    have = Counter(Completion.objects.filter(run=run, prompt_id__in=prompt_ids).values_list("prompt_id", flat=True))
    todo = [prompt_id for prompt_id in prompt_ids if have[prompt_id] < run.n]
    n_before = len(prompt_ids) - len(todo)
    prompts = Prompt.objects.in_bulk(todo)
    done = n_before * run.n + sum(have[prompt_id] for prompt_id in todo)
    ctx.progress(done, len(prompt_ids) * run.n, f"loading {checkpoint.name}")
    policy = model_cache.policy(checkpoint)

    def on_group(group: Group) -> None:
        nonlocal done
        done += len(group.completions)
        ctx.progress(done, len(prompt_ids) * run.n, f"{done} answers")

    most = pieces.at_once(checkpoint.n_parameters, tokens=run.max_tokens, most=COMPLETIONS_AT_ONCE)
    for part, first, n in _parts(todo, have, run.n, most):
        ctx.check()
        rows = [prompts[prompt_id] for prompt_id in part]
        # keyed by the prompt's own id, so that the same run draws the same answers in any database
        ids = encode_named(policy.tokenizer, [(row.external_id, row.messages or row.text) for row in rows])
        groups = sample(
            policy,
            [SamplePrompt(row.external_id, ids[row.external_id]) for row in rows],
            n=n,
            temperature=run.temperature,
            top_p=run.top_p,
            top_k=run.top_k,
            max_tokens=run.max_tokens,
            seed=run.seed,
            first_index=first,
            source=checkpoint.name,
            on_group=on_group,
        )
        with ctx.fenced():
            Completion.objects.bulk_create(
                [row for prompt, group in zip(rows, groups, strict=True) for row in _rows(run, prompt, group, first)],
                ignore_conflicts=True,
                batch_size=200,
            )
            answers_stored(run, part)
    return n_before


def _parts(todo: list[int], have: Mapping[int, int], n: int, most: int) -> Iterator[tuple[list[int], int, int]]:
    """Cut the missing answers into parts of at most `most`: prompts, their first answer's number, how many of each.

    A part is several prompts with all of their answers or, where that is too much, some answers to one prompt. These
    are stored in the order of their numbers, so that `have` says which are missing.
    """
    whole = [prompt_id for prompt_id in todo if n <= most and not have[prompt_id]]
    for part in chunks(whole, max(1, most // n)):
        yield list(part), 0, n
    for prompt_id in [one for one in todo if n > most or have[one]]:
        for first in range(have[prompt_id], n, most):
            yield [prompt_id], first, min(most, n - first)


def _draws(run: SamplingRun, checkpoint: Checkpoint) -> Draws:
    return Draws(
        max_tokens=run.max_tokens,
        seed=run.seed,
        temperature=run.temperature,
        top_p=run.top_p,
        top_k=run.top_k,
        source=checkpoint.name,
    )


def _draw_by_vllm(ctx: JobContext, run: SamplingRun, checkpoint: Checkpoint, prompt_ids: list[int]) -> int:
    ctx.progress(0, len(prompt_ids) * run.n, "starting vLLM")
    with engines.vllm(checkpoint, check=ctx.check) as (endpoint, reader):
        sampler = VllmSampler(endpoint, reader, **asdict(_draws(run, checkpoint)))
        return draw_served(
            ctx=ctx,
            run=run,
            prompt_ids=prompt_ids,
            sampler=sampler,
            prompt_of=lambda row: SamplePrompt(
                *encode_named(reader.tokenizer, [(row.external_id, row.messages or row.text)]).popitem()
            ),
            at_once=engines.VLLM_AT_ONCE,
            check=ctx.check,
        )


def _draw_in_bulk(ctx: JobContext, run: SamplingRun, checkpoint: Checkpoint, prompt_ids: list[int]) -> int:
    """Have many vLLM servers answer, on a cluster."""
    missing = {f"{row.pk}:{k}": (row, k) for row, k in missing_answers(run, prompt_ids)}

    def write(said: list[Said]) -> None:
        drawn = [
            (*missing[one.key], Drawn(DrawnCompletion(**{**one.said, "ids": tuple(one.said["ids"])}))) for one in said
        ]
        answers_write(run, [completion_of(run, *one) for one in drawn])

    draws = _draws(run, checkpoint)
    bulk.ask_engines(
        ctx,
        bulk.work_of(checkpoint, run.engine, at_once=engines.VLLM_AT_ONCE, draws=draws),
        {key: {"id": row.external_id, "prompt": row.messages or row.text, "k": k} for key, (row, k) in missing.items()},
        name=f"job-{ctx.job_id}",
        size=bulk.piece_size(checkpoint, tokens=run.max_tokens),
        write=write,
        words="answers",
    )
    return len(prompt_ids) * run.n - len(missing)


def _rows(run: SamplingRun, prompt: Prompt, group: Group, first: int) -> list[Completion]:
    return [
        Completion(
            project_id=run.project_id,
            prompt=prompt,
            run=run,
            index=index,
            text=completion.text,
            token_ids=list(completion.ids),
            logp_sum=completion.logp_sum,
            seed=run.seed,
            finished=completion.finished,
            model_name=completion.source,
        )
        for index, completion in enumerate(group.completions, first)
    ]
