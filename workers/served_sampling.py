"""Sampling by a vLLM server: each answer is stored once, and another attempt only asks for the missing ones."""

from __future__ import annotations

import time
from collections.abc import Callable

from apps.jobs.registry import JobContext
from apps.prompts.models import Prompt
from apps.samples.models import Completion, SamplingRun
from apps.samples.services import answers_stored
from prefloop.policy.sampling import SamplePrompt
from prefloop.policy.served import Drawn, Sampler, Wanted, draw_all

WRITE_SECONDS = 1.0  # answers wait no longer than this before they are stored


def draw_served(
    *,
    ctx: JobContext,
    run: SamplingRun,
    prompt_ids: list[int],
    sampler: Sampler[SamplePrompt],
    prompt_of: Callable[[Prompt], SamplePrompt],
    at_once: int,
    check: Callable[[], None],
) -> int:
    """Sample and store the missing answers to these prompts; return how many existed before."""
    missing = missing_answers(run, prompt_ids)
    by_id = {row.external_id: row for row, _ in missing}
    n_all = len(prompt_ids) * run.n
    n_before = n_done = n_all - len(missing)
    waiting: list[Completion] = []
    written_at = time.monotonic()
    ctx.progress(n_done, n_all, "sampling")

    def write() -> None:
        nonlocal n_done, written_at
        if waiting:
            with ctx.fenced():
                answers_write(run, waiting)
            n_done += len(waiting)
            waiting.clear()
            written_at = time.monotonic()
            ctx.progress(n_done, n_all, f"{n_done} answers")

    def take(item: Wanted[SamplePrompt], drawn: Drawn) -> None:
        waiting.append(completion_of(run, by_id[item.prompt.id], item.k, drawn))
        if time.monotonic() - written_at >= WRITE_SECONDS:
            write()

    try:
        wanted = (Wanted(prompt_of(row), k) for row, k in missing)
        draw_all(sampler, wanted, on_drawn=take, at_once=at_once, check=check)
    finally:
        write()  # what came before the trouble is paid for
    return n_before


def answers_write(run: SamplingRun, rows: list[Completion]) -> None:
    """Store drawn answers, in the caller's transaction; what is there already stays."""
    Completion.objects.bulk_create(rows, ignore_conflicts=True, batch_size=200)
    answers_stored(run, sorted({row.prompt_id for row in rows}))


def missing_answers(run: SamplingRun, prompt_ids: list[int]) -> list[tuple[Prompt, int]]:
    """List the answers to these prompts that are not there yet: each prompt with the number of its answer."""
    there = set(Completion.objects.filter(run=run, prompt_id__in=prompt_ids).values_list("prompt_id", "index"))
    rows = Prompt.objects.in_bulk(prompt_ids)
    return [(rows[pk], k) for pk in prompt_ids for k in range(run.n) if (pk, k) not in there]


def completion_of(run: SamplingRun, prompt: Prompt, k: int, drawn: Drawn) -> Completion:
    """Make the row of a drawn answer, not saved yet."""
    completion, told = drawn.completion, drawn.told_logprobs
    return Completion(
        project_id=run.project_id,
        prompt=prompt,
        run=run,
        index=k,
        text=completion.text,
        token_ids=list(completion.ids),
        logp_sum=completion.logp_sum,
        seed=run.seed,
        finished=completion.finished,
        model_name=completion.source,
        metadata={} if told is None else {"endpoint_logprob_sum": sum(told), "endpoint_n_tokens": len(told)},
    )
