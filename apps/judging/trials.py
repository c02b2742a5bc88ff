"""Trials of a judge before it is used: a draft on a few pairs, and a judge against the attack corpus."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.jobs.models import Job, JobGroup, JobState, Turn
from apps.jobs.services import JobSpec, group_create, job_enqueue
from apps.judging.services import BadJudge, check_joint, judge_queue
from apps.labels.models import Judge
from apps.projects.models import Project
from apps.samples.models import Comparison
from apps.samples.selectors import comparison_list
from prefloop.judging.kinds import ATTACK, TRIAL

TRIAL_PAIRS = 5
ATTACKING = "judging.attack"
# what is told of a draft
DRAFTED = ("name", "kind", "order_policy", "template", "criterion", "mode", "options")
RAW_CHARS = 4000


def trial_comparisons(project: Project) -> QuerySet[Comparison]:
    """Return the pairs to try a draft on. Held-out ones come first: where their truth is known, it can be compared."""
    rows = comparison_list(project).select_related("prompt", "first", "second")
    return rows.order_by("-held_out", "id")


def trial_pairs(project: Project) -> list[int]:
    return list(trial_comparisons(project).values_list("id", flat=True)[:TRIAL_PAIRS])


def trial_start(*, draft: Judge, comparison_ids: Sequence[int], seed: int = 0, started_by: User | None = None) -> Job:
    """Enqueue a trial of a judge of any kind, stored or not, on at most five pairs. Raises BadJudge."""
    check_joint(draft, TRIAL)
    project = draft.project
    for part in (draft.endpoint, draft.checkpoint):
        if part is not None and part.project_id != project.pk:
            raise BadJudge(f"{part.name!r} is not of this project")
    if not comparison_ids:
        raise BadJudge("there are no comparisons to try it on: make some on the Samples page first")
    settings = {name: getattr(draft, name) for name in DRAFTED}
    return job_enqueue(
        kind="judging.trial",
        turn=Turn.PERSON,
        queue=judge_queue(draft),
        project=project,
        title="Try a judge",
        started_by=started_by,
        max_attempts=1,
        payload={
            "judge": settings | {"endpoint": draft.endpoint_id, "checkpoint": draft.checkpoint_id},
            "comparisons": list(comparison_ids[:TRIAL_PAIRS]),
            "seed": seed,
        },
    )


def attack_start(*, judge: Judge, n: int = 10, seed: int = 0, started_by: User | None = None) -> JobGroup:
    """Start the attack corpus against a judge, on `n` pairs with its verdict; again tries what was not tried yet.

    Raises BadJudge, and JobKeyTaken while an attack is running.
    """
    check_joint(judge, ATTACK)
    if not 1 <= n <= 1000:
        raise BadJudge("the attacks are tried on 1 to 1,000 pairs")
    if not judge.verdicts.filter(state="ok").exists():
        raise BadJudge(f"judge {judge.name!r} has no verdicts yet: ask it about some pairs first")
    # a key stands for what succeeded under it, so each attack that did makes room for another
    n_over = Job.objects.filter(kind=ATTACKING, payload__judge=judge.pk, state=JobState.SUCCEEDED).count()
    return group_create(
        project=judge.project,
        name=f"attacks on {judge.name}",
        jobs=[
            JobSpec(
                kind=ATTACKING,
                queue="cpu",
                payload={"judge": judge.pk, "n": n, "seed": seed},
                title=f"Attack {judge.name}",
                unique_key=f"attack:{judge.pk}:{n_over}",
            )
        ],
        started_by=started_by,
    )
