"""Sampling a chunk of a run's prompts, written prompt by prompt, so that another attempt only does the rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.policies.models import Checkpoint
from apps.prompts.models import Prompt
from apps.samples.models import Completion, Engine, SamplingRun
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.served import VllmSampler
from prefloop.types import Group, PrefloopError
from workers import engines, model_cache, pieces
from workers.served_sampling import draw_served

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
    engines.settle(ctx, run)
    if run.engine == Engine.VLLM:
        return _draw_by_vllm(ctx, run, checkpoint, prompt_ids)
    have = Counter(Completion.objects.filter(run=run, prompt_id__in=prompt_ids).values_list("prompt_id", flat=True))
    todo = [prompt_id for prompt_id in prompt_ids if have[prompt_id] < run.n]
    n_before = len(prompt_ids) - len(todo)
    prompts = Prompt.objects.in_bulk(todo)
    done = n_before
    ctx.progress(done, len(prompt_ids), f"loading {checkpoint.name}")
    policy = model_cache.policy(checkpoint)

    def on_group(_: Group) -> None:
        nonlocal done
        done += 1
        ctx.progress(done, len(prompt_ids), f"{done * run.n} answers")

    most = pieces.at_once(checkpoint.n_parameters, tokens=run.max_tokens, most=COMPLETIONS_AT_ONCE)
    for part in chunks(todo, max(1, most // run.n)):
        ctx.check()
        rows = [prompts[prompt_id] for prompt_id in part]
        # keyed by the prompt's own id, so that the same run draws the same answers in any database
        ids = encode_named(policy.tokenizer, [(row.external_id, row.messages or row.text) for row in rows])
        groups = sample(
            policy,
            [SamplePrompt(row.external_id, ids[row.external_id]) for row in rows],
            n=run.n,
            temperature=run.temperature,
            top_p=run.top_p,
            top_k=run.top_k,
            max_tokens=run.max_tokens,
            seed=run.seed,
            source=checkpoint.name,
            on_group=on_group,
        )
        with ctx.fenced():
            Completion.objects.bulk_create(
                [row for prompt, group in zip(rows, groups, strict=True) for row in _rows(run, prompt, group)],
                ignore_conflicts=True,
                batch_size=200,
            )
    return n_before


def _draw_by_vllm(ctx: JobContext, run: SamplingRun, checkpoint: Checkpoint, prompt_ids: list[int]) -> int:
    ctx.progress(0, len(prompt_ids) * run.n, "starting vLLM")
    with engines.vllm(checkpoint, check=ctx.check) as (endpoint, reader):
        sampler = VllmSampler(
            endpoint,
            reader,
            max_tokens=run.max_tokens,
            seed=run.seed,
            temperature=run.temperature,
            top_p=run.top_p,
            top_k=run.top_k,
            source=checkpoint.name,
        )
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


def _rows(run: SamplingRun, prompt: Prompt, group: Group) -> list[Completion]:
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
        for index, completion in enumerate(group.completions)
    ]
