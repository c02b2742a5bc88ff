"""A stage of a round: whether a recipe has it, what it starts, what it leaves, and how far it is.

What a round does (`rounds/advance.py`), what its page shows (`rounds/stations.py`) and what a loop is forecast to do
(`loops/forecast.py`) all ask the same objects, in the order of `rounds/plan.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django.db import transaction
from django.utils.translation import ngettext

from apps.events.telling import tell
from apps.jobs.models import Job, JobGroup, JobState
from apps.jobs.pace import rate_words
from apps.policies.models import Checkpoint
from apps.training.models import Loop, LoopState, Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.sets.snapshots import NothingToTrainOn
from prefloop.recipes.recipe import Recipe

WORKING = (LoopState.RUNNING, LoopState.WAITING)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is. `rate` in units a second and `left` in seconds: None where nothing can be said yet."""

    done: int
    total: int
    rate: float | None = None
    left: float | None = None

    @property
    def pace(self) -> str:
        """The rate in words, in seconds a unit where that is slow; "" where it can't be said."""
        return rate_words(1 / self.rate) if self.rate else ""


@dataclass(frozen=True, slots=True)
class At:
    """Where a loop stands: the round under way, the recipe as that round runs it, and the stages that it has."""

    loop: Loop
    round_: Round
    recipe: Recipe
    plan: Sequence[RoundStage]
    now: datetime

    @property
    def payload(self) -> dict[str, int]:
        """What the loop's next step is told by the jobs of a stage that have ended."""
        return {"loop": self.loop.pk}

    def move(self, to: str, **fields: object) -> bool:
        """Go to another stage, or to this one again, if the round is still where we think it is."""
        here = Round.objects.filter(pk=self.round_.pk, stage=self.round_.stage, group_id=self.round_.group_id)
        if to != Stage.DONE:
            return bool(here.update(stage=to, group=None, **fields))
        with transaction.atomic():
            moved = here.update(stage=to, group=None, **(fields | {"ended_at": self.now}))
            if moved:
                result = Round.objects.values_list("result", flat=True).get(pk=self.round_.pk)
                index = self.round_.index
                tell("round.finished", self.loop.project, loop=self.loop.pk, round=index, result=result)
        return bool(moved)

    def go_on(self, **fields: object) -> bool:
        """Go to the next stage of the plan; after the last one the round is done."""
        order = list(Stage)
        here = order.index(Stage(self.round_.stage))
        return self.move(next((one.key for one in self.plan if order.index(one.key) > here), Stage.DONE), **fields)

    def start(self, make: Callable[[At], JobGroup]) -> bool:
        """Make the stage's jobs, once: only for a round that has none yet. False: wait for them."""
        with transaction.atomic():
            loop = Loop.objects.select_for_update(no_key=True).get(pk=self.loop.pk)
            locked = Round.objects.select_for_update().get(pk=self.round_.pk)
            # who pauses or cancels finds all of the stage's jobs, or none
            if locked.stage != self.round_.stage or locked.group_id is not None or loop.state not in WORKING:
                return True  # somebody else was faster: look again
            group = make(self)
            Round.objects.filter(pk=locked.pk).update(group=group)
        return group.open_count == 0


class RoundStage:
    """One stage. Its methods may run twice (two steps at once, or one that was killed) and make nothing twice: heavy
    work is idempotent and every change of stage is a compare-and-set."""

    key: ClassVar[Stage]
    words: ClassVar[str]  # marked for translation
    icon: ClassVar[str]

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        """Whether round `index` of this recipe has the stage; `prepares`: the loop makes an ingredient first."""
        raise NotImplementedError

    def in_each_step(self, recipe: Recipe) -> bool:
        """Whether the training process does this in every step, where a round of the recipe has no such stage."""
        return False

    def has_jobs(self, at: At) -> bool:
        """Whether there are jobs to start, of a round that has none under way."""
        return True

    def enter(self, at: At) -> JobGroup:
        """Make the jobs, in a transaction that holds the loop and the round."""
        raise NotImplementedError

    def leave(self, at: At) -> bool:
        """Take what the jobs left, and go on; return whether another step may follow at once."""
        return at.go_on()

    def step(self, at: At) -> bool:
        """Start the stage's jobs, or leave it where they have ended; return whether another step may follow at once."""
        if at.round_.group is None and self.has_jobs(at):
            return at.start(self.enter)
        return self.leave(at)

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        """Say what the stage will do in round `index` of a loop that is not started yet."""
        return Foreseen()

    def shown_as(self, recipe: Recipe, index: int) -> tuple[str, str]:
        """Return the word and the icon of the stage, which may differ from recipe to recipe."""
        return self.words, self.icon

    def progress(self, round_: Round, jobs: Sequence[Job], run: TrainingRun | None, now: datetime) -> Progress | None:
        """Say how far the stage is; None: it can't be said."""
        count = self.count(round_, run) or _steps_of(jobs)
        if count is None:
            return None
        done, total = count
        started = min((job.started_at for job in jobs if job.started_at), default=None)
        seconds = (now - started).total_seconds() if started else 0.0
        under_way = any(not job.is_terminal and job.state != JobState.CANCELLING for job in jobs)
        rate = done / seconds if under_way and done and seconds > 0.5 else None
        held = [job for job in jobs if job.state == JobState.RUNNING]
        if len(jobs) == len(held) == 1 and held[0].seconds_each and held[0].n_steps == total:
            rate = 1 / held[0].seconds_each  # of its phase alone: what came before was no such step
        return Progress(done, total, rate, (total - done) / rate if rate else None)

    def count(self, round_: Round, run: TrainingRun | None) -> tuple[int, int] | None:
        """Return what is done of how much, in the stage's own units; None: count the steps of its jobs."""
        return None

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        """Say in a few words what the finished stage made."""
        return ""


def _steps_of(jobs: Sequence[Job]) -> tuple[int, int] | None:
    if not jobs:
        return None
    sizes = [_size(job) for job in jobs]
    done = sum(
        size if job.state == JobState.SUCCEEDED else min(job.step, size) for job, size in zip(jobs, sizes, strict=True)
    )
    return done, sum(sizes)


def _size(job: Job) -> int:
    """How many steps a job has: what it says, else what its payload spans."""
    span = int(job.payload.get("stop", 0)) - int(job.payload.get("start", 0))
    return job.n_steps or span or 1


def steps_of_run(run: TrainingRun | None) -> tuple[int, int] | None:
    """Return how many of its steps a training run has taken; None: it has not begun."""
    return (run.step, run.n_steps) if run is not None and run.n_steps else None


def steps_in_words(run: TrainingRun | None) -> str:
    return ngettext("%(n)s step", "%(n)s steps", run.step) % {"n": f"{run.step:,}"} if run is not None else ""


def need(checkpoint: Checkpoint | None) -> Checkpoint:
    if checkpoint is None:
        raise NothingToTrainOn("the loop has no policy to start from")
    return checkpoint
