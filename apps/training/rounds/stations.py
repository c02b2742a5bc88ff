"""A round as a row of stations: what each did, what is running, how fast, and the time left."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.jobs.models import Job, JobState
from apps.samples.models import Completion
from apps.training.changes import recipe_of
from apps.training.models import Counterfactual, Loop, LoopState, Round, Stage, TrainingRun
from apps.training.rounds.plan import STAGES, plan_of, prepares
from apps.training.rounds.review import reviewed_ids
from apps.training.rounds.stages.base import Progress, RoundStage
from prefloop.recipes.recipe import Recipe

STATE_WORDS = {
    "done": gettext_noop("done"),
    "running": gettext_noop("now"),
    "waiting": gettext_noop("waits for people"),
    "queued": gettext_noop("waits for a worker"),
    "failed": gettext_noop("failed"),
    "cancelled": gettext_noop("stopped"),
    "next": gettext_noop("to come"),
    "inside": gettext_noop("in every step"),
    "skipped": gettext_noop("not in this recipe"),
}


@dataclass(frozen=True, slots=True)
class Station:
    key: str
    word: str
    icon: str
    state: str  # a key of STATE_WORDS
    note: str = ""
    progress: Progress | None = None

    @property
    def state_word(self) -> str:
        return _(STATE_WORDS[self.state])

    @property
    def is_lit(self) -> bool:
        return self.state in {"running", "waiting", "queued", "failed", "cancelled"}


def current_round(loop: Loop) -> Round | None:
    """The current round; for a loop that ended, the last one."""
    rounds = loop.rounds.select_related("policy", "output", "group", "sampling_run", "judging_run").order_by("index")
    return rounds.exclude(stage=Stage.DONE).first() or rounds.last()


def stage_states(
    loop: Loop, round_: Round, recipe: Recipe, *, makes_ingredient: bool = False
) -> list[tuple[RoundStage, str]]:
    """Return the round's own stages with their states: for a strip of dots."""
    plan = plan_of(recipe, round_.index, prepares=makes_ingredient)
    at = Stage(round_.stage)
    if at == Stage.DONE:
        return [(stage, "done") for stage in plan]
    order = list(Stage)
    # a round stands in a stage that it passes through at once, before the first one that it has
    here = next((stage.key for stage in plan if order.index(stage.key) >= order.index(at)), None)
    return [
        (
            stage,
            _here(loop) if stage.key == here else "done" if order.index(stage.key) < order.index(at) else "next",
        )
        for stage in plan
    ]


def _here(loop: Loop) -> str:
    return {
        LoopState.QUEUED: "queued",
        LoopState.RUNNING: "running",
        LoopState.WAITING: "waiting",
        LoopState.PAUSED: "cancelled",
        LoopState.FAILED: "failed",
        LoopState.CANCELLED: "cancelled",
        LoopState.DONE: "done",
    }[LoopState(loop.state)]


def stations_of(loop: Loop, round_: Round | None, now: datetime) -> list[Station]:
    """Return the diagram of a round: all its stations, with those that the recipe leaves out dimmed."""
    if round_ is None:
        return []
    recipe = recipe_of(loop, round_.index)
    prepares_first = round_.index == 0 and prepares(loop, recipe)
    states = {stage.key: state for stage, state in stage_states(loop, round_, recipe, makes_ingredient=prepares_first)}
    shown = [stage for stage in STAGES if stage.key in states or (round_.index and stage.key != Stage.PREPARE)]
    jobs = list(round_.group.jobs.all()) if round_.group is not None and round_.stage != Stage.DONE else []
    run = _training_run(round_)
    found = []
    for stage in shown:
        word, icon = stage.shown_as(recipe, round_.index)
        state = states.get(stage.key, "inside" if stage.in_each_step(recipe) else "skipped")
        if state == "running" and jobs and not any(job.started_at for job in jobs):
            state = "queued"
        progress = None
        if state in {"running", "waiting", "failed", "cancelled"}:
            progress = stage.progress(round_, jobs, run, now)
        note = stage.note(round_, run) if state == "done" else ""
        if state == "running":  # what it is doing at the moment, where one job does it all
            held = [job.message for job in jobs if job.state == JobState.RUNNING]
            note = held[0] if len(jobs) == len(held) == 1 else ""
        found.append(Station(stage.key.value, _(word), icon, state, note, progress))
    return found


def _training_run(round_: Round) -> TrainingRun | None:
    return TrainingRun.objects.filter(round=round_).select_related("snapshot", "output").order_by("-id").first()


def loop_version(loop: Loop) -> str:
    """A short hash of everything that a loop's page shows, except its curves; if it is equal, nothing changed."""
    rounds = list(
        loop.rounds.order_by("index").values_list("stage", "group_id", "output_id", "ended_at", "sampling_run_id")
    )
    jobs: list[object] = []
    samples = decided = 0
    last = current_round(loop)
    if last is not None:
        if last.group_id is not None:
            jobs = list(
                Job.objects.filter(group_id=last.group_id)
                .order_by("id")
                .values_list("pk", "state", "step", "n_steps", "message", "attempt")
            )
        if last.sampling_run_id is not None and last.stage == Stage.SAMPLING:
            samples = Completion.objects.filter(run_id=last.sampling_run_id).count()
        decided = len(reviewed_ids(last)) if last.review_comparison_ids else 0
    runs = list(
        TrainingRun.objects.filter(round__loop=loop)
        .order_by("id")
        .values_list("pk", "step", "n_steps", "snapshot_id", "events_offset")
    )
    counterfactuals = list(
        Counterfactual.objects.filter(round__loop=loop)
        .order_by("id")
        .values_list("state", "run__step", "group__open_count", "run__output_id")
    )
    changes = loop.changes.count()
    shown = repr(
        [loop.state, loop.error, loop.n_rounds, rounds, jobs, samples, decided, runs, counterfactuals, changes]
    )
    return hashlib.blake2s(shown.encode(), digest_size=8).hexdigest()
