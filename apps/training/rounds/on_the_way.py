"""Policies that a round's training keeps on the way: measured one after the other before the round's result.

Each is measured by the same jobs as the result, on the same prompts, by the same judge. What is measured is a row that
ends once, so that a loop that is killed and resumed measures none twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.training.models import KeptStep, Loop, Round
from apps.training.rounds.evaluation import asks, judged, judging_jobs, waits_for_judge

MEASURE = "evaluation.kept"


def kept_steps(**of: Any) -> QuerySet[KeptStep]:
    """Return the kept policies of such runs in the order in which they were trained."""
    return KeptStep.objects.filter(**of).select_related("checkpoint", "run").order_by("run_id", "step")


def next_kept(round_: Round) -> KeptStep | None:
    """Return the first kept policy of a round that is not measured yet, or not judged."""
    return kept_steps(run__round=round_, ended_at=None).first() if round_.index else None


def kept_jobs(loop: Loop, kept: KeptStep) -> JobGroup:
    """Enqueue the next step of measuring it: its answers, then their judge."""
    payload = {"loop": loop.pk}
    if asks(kept.evaluation):
        group, told = judging_jobs(loop, kept.evaluation, follow_up_kind="rounds.advance", follow_up_payload=payload)
        KeptStep.objects.filter(pk=kept.pk).update(evaluation=told)
        return group
    return group_create(
        project=loop.project,
        name=f"evaluation of {kept.checkpoint.name}",
        jobs=[
            JobSpec(
                kind=MEASURE,
                queue="gpu",
                payload={"kept": kept.pk},
                title=f"Evaluate step {kept.step}",
                unique_key=f"evaluation:kept:{kept.pk}",
            )
        ],
        follow_up_kind="rounds.advance",
        follow_up_payload=payload,
    )


def kept_end(kept: KeptStep, *, now: datetime) -> None:
    """End a kept policy that is measured and, where a judge measures, judged."""
    if kept.result and not waits_for_judge(kept.evaluation):
        result = kept.result | judged(kept.evaluation)
        KeptStep.objects.filter(pk=kept.pk, ended_at=None).update(result=result, ended_at=now)


def n_kept(steps: int, every: int) -> int:
    """Count the policies that a training of so many steps keeps: its last step is the result."""
    return max(0, steps - 1) // every if every else 0
