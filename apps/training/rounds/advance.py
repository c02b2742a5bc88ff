"""Running a loop stage by stage. `loop_advance` reads the state of the loop and does the next step, until it must wait.

sampling → judging → review → snapshot → training → evaluation → done, each a group of jobs; the group's follow-up job
calls back here. Which stages a round has stands in `plan.py`, what each does in `stages/`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from apps.core.listeners import Listeners
from apps.events.telling import tell
from apps.jobs.models import FailureClass, Job, JobGroup, JobState, Turn
from apps.jobs.services import JobKeyTaken, job_enqueue
from apps.policies.models import Checkpoint
from apps.quotas.services import QuotaReached
from apps.training.changes import recipe_of
from apps.training.models import UNDER_WAY, Loop, LoopState, Round, Stage
from apps.training.rounds.plan import plan_of, stage_of
from apps.training.rounds.stages.base import At
from prefloop.types import PrefloopError

LOOK_AGAIN = timedelta(seconds=2)
LOOP_ENDED: Listeners[int] = Listeners()  # the loop's id, in the transaction in which it is done, failed or cancelled


def loop_advance(*, loop_id: int, now: datetime) -> None:
    """Do the next steps of a loop, until it waits for jobs or people, or has ended."""
    while True:
        loop = Loop.objects.select_related("project", "initial", "judge").get(pk=loop_id)
        if loop.state not in UNDER_WAY:
            return
        Loop.objects.filter(pk=loop_id, state=LoopState.QUEUED).update(state=LoopState.RUNNING)
        round_ = loop.rounds.exclude(stage=Stage.DONE).order_by("index").select_related("policy", "group").first()
        try:
            moved = _next_round(loop, now) if round_ is None else _step(loop, round_, now)
        except JobKeyTaken:
            # resumed while a worker was still leaving the work of before: it has to let go first
            advance_enqueue(loop, run_after=now + LOOK_AGAIN)
            return
        except QuotaReached as error:
            loop_fail(loop=loop, failure_class=FailureClass.CAP_REACHED, error=str(error), now=now)
            return
        except PrefloopError as error:
            loop_fail(loop=loop, failure_class="data", error=str(error), now=now)
            return
        if not moved:
            return


def advance_enqueue(loop: Loop, *, run_after: datetime | None = None) -> Job:
    """Enqueue a step of the loop; steps are idempotent, so an extra one does nothing."""
    return job_enqueue(
        run_after=run_after,
        kind="rounds.advance",
        turn=Turn.SOON,
        queue="cpu",
        payload={"loop": loop.pk},
        project=loop.project,
        title=f"Loop {loop.pk}: next step",
    )


def loop_fail(*, loop: Loop, failure_class: str, error: str, now: datetime) -> None:
    under_way = Loop.objects.filter(pk=loop.pk, state__in=UNDER_WAY)
    with transaction.atomic():
        if under_way.update(state=LoopState.FAILED, failure_class=failure_class, error=error, ended_at=now):
            tell("loop.failed", loop.project, loop=loop.pk, error=error)
            LOOP_ENDED.tell(loop.pk)


def _step(loop: Loop, round_: Round, now: datetime) -> bool:
    """Take one step of a round; say whether another may follow at once."""
    if round_.started_at is None:
        Round.objects.filter(pk=round_.pk, started_at=None).update(started_at=now)
    if round_.group is not None and not _ended(loop, round_.group, now):
        return False
    recipe = recipe_of(loop, round_.index)
    at = At(loop=loop, round_=round_, recipe=recipe, plan=plan_of(recipe, round_.index), now=now)
    return stage_of(round_.stage).step(at)


def _ended(loop: Loop, group: JobGroup, now: datetime) -> bool:
    """True: all succeeded. False: jobs are still open, or one that failed has ended the loop."""
    group.refresh_from_db()
    if group.open_count:
        return False
    if group.failed_count or group.cancelled_count:
        job = Job.objects.filter(group=group, state=JobState.FAILED).order_by("-id").first()
        if job is None:
            under_way = Loop.objects.filter(pk=loop.pk, state__in=UNDER_WAY)
            with transaction.atomic():
                error = "a job of the loop was cancelled"
                if under_way.update(state=LoopState.CANCELLED, ended_at=now, error=error):
                    LOOP_ENDED.tell(loop.pk)
        else:
            loop_fail(loop=loop, failure_class=job.failure_class, error=job.error, now=now)
        return False
    return True


def _next_round(loop: Loop, now: datetime) -> bool:
    with transaction.atomic():
        locked = Loop.objects.select_for_update(no_key=True).get(pk=loop.pk)  # a change falls before or after it
        last = locked.rounds.order_by("-index").first()
        index = last.index + 1 if last else 0
        if index > locked.n_rounds:
            if Loop.objects.filter(pk=loop.pk, state=LoopState.RUNNING).update(state=LoopState.DONE, ended_at=now):
                tell("loop.done", loop.project, loop=loop.pk, rounds=locked.n_rounds)
                LOOP_ENDED.tell(loop.pk)
            return False
        Round.objects.get_or_create(loop=locked, index=index, defaults={"policy": previous_policy(locked, index)})
    return True


def previous_policy(loop: Loop, index: int) -> Checkpoint | None:
    """Return the policy that round `index` starts from: the result of the one before it."""
    before = loop.rounds.filter(index=index - 1).select_related("output").first()
    return before.output if before else loop.initial
