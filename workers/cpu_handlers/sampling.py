"""Sampling from an endpoint: another machine does the work, so it runs in the cpu queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.policies.endpoints import endpoint_key
from apps.prompts.models import Prompt
from apps.samples.models import SamplingRun
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeError, JudgeUnreachable
from prefloop.types import PrefloopError

if TYPE_CHECKING:
    from prefloop.policy.served import EndpointPrompt

CALLS_AT_ONCE = 8


class NotAnswerable(PrefloopError):
    """The run has no model to answer."""


@handler("sampling.endpoint", queue="cpu")
def sampling_endpoint(ctx: JobContext) -> dict[str, Any]:
    """Sample what is missing of a chunk from an endpoint: payload {run, start, stop} (positions in the run's
    prompts).
    """
    from prefloop.policy.served import EndpointSampler  # torch lies below it
    from workers.served_sampling import draw_served

    run = SamplingRun.objects.select_related("endpoint").get(pk=ctx.payload["run"])
    ids = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    served = run.endpoint
    if served is None:
        raise NotAnswerable(f"sampling run {run.pk} has no endpoint")
    with ChatEndpoint(served.base_url, served.model, endpoint_key(served), settings.ENDPOINT_ALLOW) as endpoint:
        sampler = EndpointSampler(
            endpoint,
            api="completions" if run.api == "completions" else "chat",
            max_tokens=run.max_tokens,
            seed=run.seed,
            temperature=run.temperature,
            top_p=run.top_p,
            source=served.name,
        )
        try:
            n_before = draw_served(
                ctx=ctx,
                run=run,
                prompt_ids=ids,
                sampler=sampler,
                prompt_of=_prompt,
                at_once=CALLS_AT_ONCE,
                check=ctx.check,
            )
        except JudgeUnreachable as error:
            raise JobFailure(FailureClass.JUDGE_UNREACHABLE, str(error), retry=True) from error
        except JudgeError as error:
            raise JobFailure(FailureClass.JUDGE_REFUSED, str(error)) from error
    return {"n_prompts": len(ids), "n_there_before": n_before}


def _prompt(row: Prompt) -> EndpointPrompt:
    from prefloop.policy.served import EndpointPrompt

    messages = row.messages or [{"role": "user", "content": row.text}]
    return EndpointPrompt(
        row.external_id, tuple({"role": str(m["role"]), "content": str(m["content"])} for m in messages)
    )
