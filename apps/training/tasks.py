"""The step of a loop, as a job."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError

from apps.jobs.clock import database_now
from apps.jobs.models import Job
from apps.jobs.registry import JobContext, handler
from apps.training.loops.counterfactual import ADVANCE, counterfactual_advance
from apps.training.models import Loop
from apps.training.rounds.advance import loop_advance, loop_fail


@handler("rounds.advance", queue="cpu")
def rounds_advance(ctx: JobContext) -> dict[str, Any]:
    """Run a loop as far as possible now: payload {loop}."""
    loop_id = int(ctx.payload["loop"])
    try:
        loop_advance(loop_id=loop_id, now=database_now())
    except (OperationalError, InterfaceError) as error:
        # the database was away, or busy for too long: this job is tried again, and the loop waits for it
        if ctx.attempt >= Job.objects.values_list("max_attempts", flat=True).get(pk=ctx.job_id):
            loop_fail(loop=Loop.objects.get(pk=loop_id), failure_class="internal", error=str(error), now=database_now())
        raise
    except Exception as error:
        loop_fail(loop=Loop.objects.get(pk=loop_id), failure_class="internal", error=str(error), now=database_now())
        raise
    return {}


@handler(ADVANCE, queue="cpu")
def counterfactual_step(ctx: JobContext) -> dict[str, Any]:
    """Continue a counterfactual: payload {counterfactual}."""
    counterfactual_advance(counterfactual_id=int(ctx.payload["counterfactual"]), now=database_now())
    return {}
