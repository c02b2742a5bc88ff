"""The step of a loop, as a job."""

from __future__ import annotations

from typing import Any

from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.training.models import Loop
from apps.training.rounds import loop_advance, loop_fail


@handler("rounds.advance", queue="cpu")
def rounds_advance(ctx: JobContext) -> dict[str, Any]:
    """Take a loop as far as it goes now: payload {loop}."""
    loop_id = int(ctx.payload["loop"])
    try:
        loop_advance(loop_id=loop_id, now=database_now())
    except Exception as error:
        loop_fail(loop=Loop.objects.get(pk=loop_id), failure_class="internal", error=str(error), now=database_now())
        raise
    return {}
