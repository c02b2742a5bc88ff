"""Sampling from an endpoint: another machine does the work, so it runs in the cpu queue.

Its calls are held under the endpoint's cap and written into its ledger, as a judge's are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apps.jobs.registry import JobContext, handler
from apps.prompts.models import Prompt
from apps.samples.models import SamplingRun
from prefloop.judging.asking import Asked, Question
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.metering import Most
from prefloop.types import PrefloopError
from workers.asking import EndpointMeter, answering, ask_and_write, failures

if TYPE_CHECKING:
    from prefloop.policy.served import Drawn, EndpointPrompt, EndpointSampler

Missing = tuple[Prompt, int]  # a prompt, and which of its answers is missing


class NotAnswerable(PrefloopError):
    """The run has no model to answer."""


@handler("sampling.endpoint", queue="cpu")
def sampling_endpoint(ctx: JobContext) -> dict[str, Any]:
    """Sample what is missing of a chunk from an endpoint: payload {run, start, stop} (positions in the run's
    prompts).
    """
    from prefloop.policy.served import EndpointSampler  # torch lies below it
    from workers.served_sampling import answers_write, completion_of, missing_answers

    run = SamplingRun.objects.select_related("endpoint").get(pk=ctx.payload["run"])
    ids = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    served = run.endpoint
    if served is None:
        raise NotAnswerable(f"sampling run {run.pk} has no endpoint")
    missing = missing_answers(run, ids)

    def write(asked: list[Asked[Missing, Drawn]]) -> None:
        rows = [completion_of(run, *one.item, reply.said) for one in asked for reply in one.replies]
        answers_write(run, rows)

    with (
        failures(),
        answering(served) as (base_url, key, allow),
        ChatEndpoint(base_url, served.model, key, allow) as endpoint,
    ):
        sampler = EndpointSampler(
            endpoint,
            api="completions" if run.api == "completions" else "chat",
            max_tokens=run.max_tokens,
            seed=run.seed,
            temperature=run.temperature,
            top_p=run.top_p,
            source=served.name,
        )
        ask_and_write(
            ctx,
            _Draws(sampler, {row.external_id: _prompt(row) for row, _ in missing}),
            [((row, k), [Question(row.external_id, (), sample=k)]) for row, k in missing],
            write=write,
            meter=EndpointMeter(served, purpose="sampling", person_id=run.started_by_id, note=f"sampling run {run.pk}"),
            at_once=served.at_once,
            words=f"answers of {served.name}",
        )
    return {"n_prompts": len(ids), "n_there_before": len(ids) * run.n - len(missing)}


class _Draws:
    """Answers questions by drawing: each names a prompt by its id, and which of its answers it will be."""

    def __init__(self, sampler: EndpointSampler, prompts: Mapping[str, EndpointPrompt]) -> None:
        self._sampler, self._prompts = sampler, prompts

    def ask(self, question: Question) -> Drawn:
        return self._sampler.draw(self._prompts[question.prompt], question.sample)

    def most(self, question: Question) -> Most:
        return self._sampler.most(self._prompts[question.prompt])


def _prompt(row: Prompt) -> EndpointPrompt:
    from prefloop.policy.served import EndpointPrompt

    messages: Sequence[Mapping[str, Any]] = row.messages or [{"role": "user", "content": row.text}]
    return EndpointPrompt(
        row.external_id, tuple({"role": str(m["role"]), "content": str(m["content"])} for m in messages)
    )
