"""A round as a row of stations: what each did, what is under way, how fast, and how long it will still take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from apps.jobs.models import Job, JobState
from apps.samples.models import Comparison, Completion
from apps.training.changes import recipe_of
from apps.training.labels import round_origin
from apps.training.loops import needs_reward_model
from apps.training.models import Counterfactual, Loop, LoopState, Round, Stage, TrainingRun
from apps.training.review import reviewed_ids
from apps.training.self_rewarding import needs_start
from prefloop.recipes.recipe import Recipe

# stage -> word, icon
WORDS = {
    Stage.PREPARE: (gettext_noop("Reward model"), "flask"),
    Stage.SAMPLING: (gettext_noop("Sampling"), "samples"),
    Stage.JUDGING: (gettext_noop("Judging"), "judges"),
    Stage.REVIEW: (gettext_noop("People"), "people"),
    Stage.SNAPSHOT: (gettext_noop("Training set"), "file"),
    Stage.TRAINING: (gettext_noop("Training"), "bolt"),
    Stage.EVALUATION: (gettext_noop("Evaluation"), "graph"),
}
ORDER = (Stage.SAMPLING, Stage.JUDGING, Stage.REVIEW, Stage.SNAPSHOT, Stage.TRAINING, Stage.EVALUATION)
STATE_WORDS = {
    "done": gettext_noop("done"),
    "running": gettext_noop("now"),
    "waiting": gettext_noop("waits for people"),
    "queued": gettext_noop("waits for a worker"),
    "failed": gettext_noop("failed"),
    "cancelled": gettext_noop("stopped"),
    "next": gettext_noop("to come"),
    "skipped": gettext_noop("not in this recipe"),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is. `rate` in units a second and `left` in seconds: None where nothing can be said yet."""

    done: int
    total: int
    rate: float | None = None
    left: float | None = None


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


def stages_of(recipe: Recipe, *, round_index: int, makes_ingredient: bool = False) -> tuple[Stage, ...]:
    """Return the stages that a round of this recipe goes through, in order. Round 0 only measures."""
    trains = recipe.objective.loss != "none"
    if round_index == 0:
        first = (Stage.PREPARE,) if makes_ingredient else ()
        return (*first, Stage.EVALUATION) if recipe.objective.loss != "bradley-terry" else first
    asks_a_judge = recipe.label.by == "preferences" and recipe.label.judge not in ("", "people")
    if recipe.learns_in_steps:  # it samples, judges and learns in one stage
        return (Stage.TRAINING, Stage.EVALUATION)
    wanted = {
        Stage.PREPARE: recipe.prompts.generator != "none",
        Stage.SAMPLING: any(draw.source != "data" for draw in recipe.draws),
        Stage.JUDGING: recipe.score.by in ("judge", "policy") or asks_a_judge,
        Stage.REVIEW: recipe.review.mode != "none" and trains,
        Stage.SNAPSHOT: trains,
        Stage.TRAINING: trains,
        Stage.EVALUATION: True,
    }
    return tuple(stage for stage in wanted if wanted[stage])


def word_of(stage: Stage, recipe: Recipe, *, round_index: int) -> tuple[str, str]:
    """Return the word and the icon of a station: what is prepared differs from recipe to recipe."""
    if stage != Stage.PREPARE or (round_index == 0 and recipe.score.by != "policy"):
        return WORDS[stage]
    return (gettext_noop("Start"), "book") if round_index == 0 else (gettext_noop("Prompts"), "prompts")


def current_round(loop: Loop) -> Round | None:
    """The round under way; of a loop that ended, the last one."""
    rounds = loop.rounds.select_related("policy", "output", "group", "sampling_run", "judging_run").order_by("index")
    return rounds.exclude(stage=Stage.DONE).first() or rounds.last()


def stage_states(
    loop: Loop, round_: Round, recipe: Recipe, *, makes_ingredient: bool = False
) -> list[tuple[Stage, str]]:
    """Return the round's own stages with their states: for a strip of dots."""
    stages = stages_of(recipe, round_index=round_.index, makes_ingredient=makes_ingredient)
    at = Stage(round_.stage)
    if at == Stage.PREPARE and at not in stages and stages:
        at = stages[0]
    if at == Stage.DONE:
        return [(stage, "done") for stage in stages]
    full = (Stage.PREPARE, *ORDER)
    return [
        (
            stage,
            "done" if full.index(stage) < full.index(at) else _here(loop) if stage == at else "next",
        )
        for stage in stages
    ]


def _here(loop: Loop) -> str:
    return {
        LoopState.QUEUED: "queued",
        LoopState.RUNNING: "running",
        LoopState.WAITING: "waiting",
        LoopState.PAUSED: "waiting",
        LoopState.FAILED: "failed",
        LoopState.CANCELLED: "cancelled",
        LoopState.DONE: "done",
    }[LoopState(loop.state)]


def stations_of(loop: Loop, round_: Round | None, now: datetime) -> list[Station]:
    """Return the diagram of a round: all its stations, those that the recipe leaves out dimmed."""
    if round_ is None:
        return []
    recipe = recipe_of(loop, round_.index)
    makes = round_.index == 0 and makes_ingredient(loop, recipe)
    states = dict(stage_states(loop, round_, recipe, makes_ingredient=makes))
    first = (Stage.PREPARE,) if Stage.PREPARE in states else ()
    shown: Sequence[Stage] = tuple(states) if round_.index == 0 else (*first, *ORDER)
    jobs = list(round_.group.jobs.all()) if round_.group is not None and round_.stage != Stage.DONE else []
    run = _training_run(round_)
    found = []
    for stage in shown:
        word, icon = word_of(stage, recipe, round_index=round_.index)
        state = states.get(stage, "skipped")
        if state == "running" and jobs and not any(job.started_at for job in jobs):
            state = "queued"
        progress = None
        if state in {"running", "waiting", "failed", "cancelled"}:
            progress = _progress(round_, stage, jobs, run, now)
        note = _note(loop, round_, stage, run) if state == "done" else ""
        found.append(Station(stage.value, _(word), icon, state, note, progress))
    return found


def makes_ingredient(loop: Loop, recipe: Recipe) -> bool:
    """Whether the loop makes (or made) its own reward model, or its own start, before its first round."""
    return (
        needs_reward_model(loop, recipe)
        or needs_start(loop, recipe)
        or TrainingRun.objects.filter(round__loop=loop, round__index=0).exists()
    )


def _training_run(round_: Round) -> TrainingRun | None:
    return TrainingRun.objects.filter(round=round_).select_related("snapshot", "output").order_by("-id").first()


def _progress(
    round_: Round, stage: Stage, jobs: Sequence[Job], run: TrainingRun | None, now: datetime
) -> Progress | None:
    if stage == Stage.REVIEW:
        total = len(round_.review_comparison_ids)
        return Progress(len(reviewed_ids(round_)), total) if total else None
    if stage == Stage.SAMPLING and round_.sampling_run is not None:
        total = len(round_.sampling_run.prompt_ids) * round_.sampling_run.n
        done = Completion.objects.filter(run=round_.sampling_run).count()
    elif stage in (Stage.TRAINING, Stage.PREPARE) and run is not None and run.n_steps and run.round_id == round_.pk:
        done, total = run.step, run.n_steps
    elif jobs:
        sizes = [_size(job) for job in jobs]
        total = sum(sizes)
        done = sum(
            size if job.state == JobState.SUCCEEDED else min(job.step, size)
            for job, size in zip(jobs, sizes, strict=True)
        )
    else:
        return None
    started = min((job.started_at for job in jobs if job.started_at), default=None)
    seconds = (now - started).total_seconds() if started else 0.0
    under_way = any(not job.is_terminal for job in jobs)
    rate = done / seconds if under_way and done and seconds > 0.5 else None
    return Progress(done, total, rate, (total - done) / rate if rate else None)


def _size(job: Job) -> int:
    """How many steps a job has: what it says, else what its payload spans."""
    span = int(job.payload.get("stop", 0)) - int(job.payload.get("start", 0))
    return job.n_steps or span or 1


def _note(loop: Loop, round_: Round, stage: Stage, run: TrainingRun | None) -> str:
    """What a finished station made, in a few words."""
    if stage == Stage.SAMPLING and round_.sampling_run is not None:
        n = Completion.objects.filter(run=round_.sampling_run).count()
        return ngettext("%(n)s answer", "%(n)s answers", n) % {"n": f"{n:,}"}
    if stage == Stage.JUDGING:
        n = Comparison.objects.filter(project=loop.project, origin=round_origin(loop, round_.index)).count()
        return (ngettext("%(n)s pair", "%(n)s pairs", n) % {"n": f"{n:,}"}) if n else ""
    if stage == Stage.REVIEW and round_.review_comparison_ids:
        of = len(round_.review_comparison_ids)
        return _("%(n)d of %(of)d looked at") % {"n": len(reviewed_ids(round_)), "of": of}
    if run is not None and stage == Stage.SNAPSHOT and run.snapshot is not None:
        n = run.snapshot.n_pairs
        return ngettext("%(n)s pair", "%(n)s pairs", n) % {"n": f"{n:,}"}
    if stage == Stage.PREPARE and round_.index > 0:
        n = len(round_.written.get("prompt_ids", []))
        return ngettext("%(n)s new prompt", "%(n)s new prompts", n) % {"n": f"{n:,}"}
    if run is not None and stage in (Stage.TRAINING, Stage.PREPARE):
        n = run.step
        return ngettext("%(n)s step", "%(n)s steps", n) % {"n": f"{n:,}"}
    if stage == Stage.EVALUATION:
        rate = round_.result.get("win_rate_vs_initial")
        if rate is not None and round_.index > 0:
            return _("win rate %(rate).0f %%") % {"rate": 100 * rate}
        accuracy = round_.result.get("accuracy")
        return _("accuracy %(rate).0f %%") % {"rate": 100 * accuracy} if accuracy is not None else ""
    return ""


def loop_version(loop: Loop) -> str:
    """A short name for everything that a loop's page shows, but for its curves; the same name: nothing changed."""
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
    beside = list(
        Counterfactual.objects.filter(round__loop=loop)
        .order_by("id")
        .values_list("state", "run__step", "group__open_count", "run__output_id")
    )
    changes = loop.changes.count()
    shown = repr([loop.state, loop.error, loop.n_rounds, rounds, jobs, samples, decided, runs, beside, changes])
    return hashlib.blake2s(shown.encode(), digest_size=8).hexdigest()
