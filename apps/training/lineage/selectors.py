"""Reads of loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.models import AuditEvent
from apps.jobs.machine import HELD
from apps.jobs.models import Job
from apps.projects.models import Project
from apps.training.changes import recipe_of
from apps.training.lineage.failures import failure_in_words
from apps.training.lineage.figures import FIGURES, PAIRS
from apps.training.models import Counterfactual, Loop, LoopState, Metric, Round, Snapshot, Stage, TrainingRun
from apps.training.rounds import stations
from apps.training.rounds.on_the_way import kept_steps
from apps.training.rounds.review import gate_judge, reviewed_ids
from apps.training.sets.overrides import OverrideShare, overridden_runs, override_share

ROW_KEYS = (
    "round",
    "n_samples",
    "n_pairs",
    "n_overrides",
    "loss",
    "gold_mean",
    "win_rate_vs_initial",
    "win_rate_ci95",
    "kl",
    "mean_length",
    "seconds",
    "checkpoint",
)


def loop_list(project: Project) -> QuerySet[Loop]:
    return (
        Loop.objects.filter(project=project)
        .select_related("initial", "judge", "started_by")
        .prefetch_related(
            "changes", Prefetch("rounds", queryset=Round.objects.order_by("index").select_related("output", "group"))
        )
        .order_by("-id")
    )


def loop_rows(loop: Loop) -> list[dict[str, Any]]:
    """Return the rows of `run_recipe --json`: one per finished round, round 0 the starting policy."""
    kept = on_the_way(run__round__loop=loop)
    rounds = loop.rounds.filter(stage="done").select_related("output").order_by("index")
    return [round_row(one) | ({"on_the_way": kept[one.pk]} if one.pk in kept else {}) for one in rounds]


@dataclass(frozen=True, slots=True)
class Beside:
    """What something took in the end, beside what was forecast."""

    actual: float
    foreseen: float | None

    @property
    def percent_more(self) -> int:
        """How much more than forecast it was; below zero: less."""
        return round(100 * (self.actual / self.foreseen - 1)) if self.foreseen else 0

    @property
    def percent_less(self) -> int:
        return -self.percent_more


@dataclass(frozen=True, slots=True)
class Took:
    """What a loop that is done took: its rounds' seconds, and the most bytes that one of its trainings held.

    `memory` is None where nothing was trained. Of an accelerator's memory there is no forecast.
    """

    seconds: Beside
    memory: Beside | None


def took(loop: Loop) -> Took | None:
    """Compare the length of the rounds, waiting for people included, and the memory of training with the forecast.

    None before the loop is done.
    """
    if loop.state != LoopState.DONE:
        return None
    times = loop.rounds.filter(index__gt=0, stage="done").values_list("started_at", "ended_at")
    seconds = sum((end - start).total_seconds() for start, end in times if start and end)
    return Took(Beside(seconds, loop.foreseen_seconds), _memory(loop))


def _memory(loop: Loop) -> Beside | None:
    peaks = TrainingRun.objects.filter(round__loop=loop, round__index__gt=0).values_list("peak", flat=True)
    most: dict[str, Any] = max(peaks, key=lambda peak: peak.get("bytes", 0), default={})
    if not most.get("bytes"):
        return None
    return Beside(most["bytes"], loop.foreseen_memory if most["device"] == "cpu" else None)


def on_the_way(**of: Any) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of policies that were measured on the way, by round (its id), in order: keys as of a round's row.

    `of` filters kept steps.
    """
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for kept in kept_steps(ended_at__isnull=False, **of).select_related("run__round"):
        if kept.run.round is not None:
            row = dict.fromkeys(ROW_KEYS, None) | kept.result
            before = TrainingRun.objects.filter(round=kept.run.round, pk__lt=kept.run_id).count()
            row |= {"round": kept.run.round.index, "training": before + 1}
            row |= {"step": kept.step, "n_steps": kept.run.n_steps}
            row |= {"checkpoint": kept.checkpoint.name, "checkpoint_id": kept.checkpoint_id}
            found[kept.run.round.pk].append(row)
    return found


def round_row(round_: Round) -> dict[str, Any]:
    result = dict.fromkeys(ROW_KEYS, None) | {key: round_.result.get(key) for key in ROW_KEYS}
    result |= {key: value for key, value in round_.result.items() if key not in ROW_KEYS}
    result["round"] = round_.index
    result["checkpoint"] = round_.output.name if round_.output else None
    if round_.started_at and round_.ended_at:
        result["seconds"] = round((round_.ended_at - round_.started_at).total_seconds(), 1)
    return result


def curves(loop: Loop, *, since: int = 0) -> dict[str, Any]:
    """Return the loop's metrics after `since` (a metric's id) as points by name: {"last", "points"}."""
    rows = (
        Metric.objects.filter(run__round__loop=loop, pk__gt=since)
        .exclude(run__round__index=0)  # an ingredient
        .order_by("run__round__index", "step")
        .values_list("pk", "run__round__index", "step", "values")
    )
    points: list[dict[str, Any]] = []
    last = since
    for pk, index, step, values in rows:
        last = max(last, pk)
        points.append({"round": index, "step": step, **values})
    return {"last": last, "points": points}


def curves_since(loop: Loop, since: str) -> dict[str, Any]:
    """Return what a page that has seen `since` lacks: {"since", "reset", "points", "rounds"}.

    The token counts what the page has: a resumed run takes rows back, and then everything is sent again (`reset`).
    """
    rows = Metric.objects.filter(run__round__loop=loop).exclude(run__round__index=0)
    seen, n_seen = 0, 0
    parts = since.split("-")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        seen, n_seen = int(parts[0]), int(parts[1])
    reset = seen == 0 or rows.filter(pk__lte=seen).count() != n_seen
    found = curves(loop, since=0 if reset else seen)
    n = rows.count() if reset else n_seen + len(found["points"])
    rounds = _measured_rows(loop)
    return {
        "since": f"{found['last']}-{n}-{len(rounds)}",
        "reset": reset,
        "points": found["points"],
        "rounds": rounds,
    }


def _measured_rows(loop: Loop) -> list[dict[str, Any]]:
    """The finished rounds, and between two of them the policies on the way, where their step is among the round's."""
    rows = [round_row(one) for one in loop.rounds.filter(stage=Stage.DONE).select_related("output")]
    for kept in on_the_way(run__round__loop=loop).values():
        for row in kept:
            trainings = recipe_of(loop, row["round"]).filter.n_steps  # ReST has several in a round
            part = (row["training"] - 1 + row["step"] / max(row["n_steps"], 1)) / trainings
            rows.append(row | {"round": round(row["round"] - 1 + part, 3)})
    return sorted(rows, key=lambda row: float(row["round"]))


@dataclass(frozen=True, slots=True)
class Gate:
    """The review gate of a round: what people were asked, and how much is left."""

    round_id: int
    n: int
    n_left: int
    judge: str

    @property
    def n_decided(self) -> int:
        return self.n - self.n_left


def gate_of(loop: Loop, round_: Round | None) -> Gate | None:
    if round_ is None or round_.stage != Stage.REVIEW or not round_.review_comparison_ids:
        return None
    n = len(set(round_.review_comparison_ids))
    judge = gate_judge(round_)
    return Gate(round_.pk, n, n - len(reviewed_ids(round_)), judge.name if judge else "")


def stage_jobs(round_: Round, *, limit: int = 12) -> list[Job]:
    """The jobs of the current stage: first failed ones, then running ones, then waiting ones."""
    if round_.group_id is None:
        return []
    rank = {"failed": 0, "running": 1, "cancelling": 1, "starting": 1, "queued": 2, "cancelled": 3, "succeeded": 4}
    jobs = sorted(Job.objects.filter(group_id=round_.group_id), key=lambda job: (rank[job.state], job.pk))
    return jobs[:limit]


def snapshots_of(loop: Loop) -> QuerySet[Snapshot]:
    return Snapshot.objects.filter(training_runs__round__loop=loop).distinct()


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training set of a round. `round` is set if it may be trained again without overrides."""

    snapshot: Snapshot
    share: OverrideShare
    round: Round | None


def training_sets(loop: Loop) -> list[TrainingSet]:
    """The loop's training sets, the newest first."""
    rounds = {
        run.snapshot_id: run.round
        for run in overridden_runs()
        .filter(round__loop=loop, round__index__gt=0, round__stage=Stage.DONE, round__counterfactual=None)
        .select_related("round")
    }
    return [
        TrainingSet(snapshot, override_share(snapshot), rounds.get(snapshot.pk))
        for snapshot in snapshots_of(loop).order_by("-id")
    ]


@dataclass(frozen=True, slots=True)
class WithAndWithout:
    """A figure of a round with people's overrides and without."""

    name: str
    unit: str
    real: float
    real_bounds: Sequence[float | None]
    without: float
    without_bounds: Sequence[float | None]


def counterfactuals_of(loop: Loop) -> list[tuple[Counterfactual, list[WithAndWithout]]]:
    """The rounds trained without overrides, each with the results of both versions on the same prompts."""
    rows = Counterfactual.objects.filter(round__loop=loop).select_related("round", "run__output", "started_by")
    found = []
    for row in rows.order_by("round__index"):
        figures = []
        for one in (*FIGURES, PAIRS):
            real, without = row.round.result.get(one.key), row.result.get(one.key)
            if real is not None and without is not None:
                real_bounds = row.round.result.get(one.bounds) or (None, None)
                bare_bounds = row.result.get(one.bounds) or (None, None)
                figures.append(WithAndWithout(one.title, one.unit, real, real_bounds, without, bare_bounds))
        found.append((row, figures))
    return found


_STOPPING = {LoopState.CANCELLED: "cancelling", LoopState.PAUSED: "pausing"}


def not_left_yet(loop: Loop) -> list[Job]:
    """The jobs of a cancelled or paused loop that a worker, or its child, is still running."""
    if loop.state not in _STOPPING:
        return []
    groups = [group for group in loop.rounds.values_list("group_id", flat=True) if group is not None]
    return list(Job.objects.filter(group_id__in=groups, state__in=HELD).order_by("id"))


def state_shown(loop: Loop) -> str:
    """The state to show: a loop is `cancelling` or `pausing` until the last of its jobs has left."""
    return _STOPPING[LoopState(loop.state)] if not_left_yet(loop) else str(loop.state)


def history_of(loop: Loop, *, limit: int = 100) -> list[AuditEvent]:
    """People's actions on the loop, the newest first."""
    targets = [f"loop {loop.pk}", f"loop {loop.pk} ({loop.recipe})"]
    rows = AuditEvent.objects.filter(project_slug=loop.project.slug, target__in=targets).select_related("actor")
    return list(rows.order_by("-id")[:limit])


def round_table(loop: Loop) -> list[dict[str, Any]]:
    """The rows of `loop_rows` with their intervals and the checkpoints' ids, for the page."""
    made = dict(loop.rounds.filter(output__isnull=False).values_list("index", "output_id"))
    branches = dict(loop.rounds.filter(stage=Stage.DONE, output__role="policy").values_list("index", "id"))
    rows = []
    for row in loop_rows(loop):
        bounds = {}
        for figure in FIGURES:
            low, high = row.get(figure.bounds) or (None, None)
            bounds[figure.bounds] = {"low": low, "high": high}
        rows.append(
            {**row, "bounds": bounds, "checkpoint_id": made.get(row["round"]), "branch": branches.get(row["round"])}
        )
    return rows


@dataclass(frozen=True, slots=True)
class LoopCard:
    """One line of the list."""

    loop: Loop
    state: str
    round: Round | None
    strips: list[tuple[int, list[tuple[str, str, str]]]]  # round, its dots: stage's word, state, state's word
    n_before: int  # rounds left out of the strip
    spark: list[float | None]
    spark_of: str  # gold | win rate | ""
    best: dict[str, Any] | None
    waits: str
    version: str


SHOWN_ROUNDS = 6


def loop_cards(project: Project, *, now: datetime, limit: int = 50) -> list[LoopCard]:
    """The newest loops as lines of the list."""
    return [_card(loop, now) for loop in loop_list(project)[:limit]]


def _card(loop: Loop, now: datetime) -> LoopCard:
    rounds = list(loop.rounds.all())
    round_ = next((one for one in rounds if one.stage != Stage.DONE), rounds[-1] if rounds else None)
    shown = [one for one in rounds if one.index > 0] or rounds
    strips = [
        (
            one.index,
            [
                (
                    _(stage.shown_as(recipe, one.index)[0]),
                    state,
                    _(stations.STATE_WORDS[state]),
                )
                for recipe in [recipe_of(loop, one.index)]
                for stage, state in stations.stage_states(loop, one, recipe)
            ],
        )
        for one in shown[-SHOWN_ROUNDS:]
    ]
    done = [one.result for one in rounds if one.stage == Stage.DONE]
    gold = [result.get("gold_mean") for result in done]
    wins = [result.get("win_rate_vs_initial") for result in done]
    spark, spark_of = (gold, "gold") if any(v is not None for v in gold) else (wins, "win rate")
    if not any(value is not None for value in spark):
        spark, spark_of = [], ""
    return LoopCard(
        loop=loop,
        state=state_shown(loop),
        round=round_,
        strips=strips,
        n_before=max(0, len(shown) - SHOWN_ROUNDS),
        spark=spark,
        spark_of=spark_of,
        best=done[-1] if len(done) > 1 else None,
        waits=_waits(loop, round_),
        version=stations.loop_version(loop),
    )


def _waits(loop: Loop, round_: Round | None) -> str:
    """Who waits for whom, in a few words."""
    if loop.state == LoopState.WAITING:
        gate = gate_of(loop, round_)
        if gate is not None:
            text = ngettext("%(n)d label waits for people", "%(n)d labels wait for people", gate.n_left)
            return text % {"n": gate.n_left}
    if loop.state == LoopState.FAILED:
        return failure_in_words(loop.failure_class).what
    if leaving := not_left_yet(loop):
        return leaving[0].message or leaving[0].title
    if loop.state not in (LoopState.RUNNING, LoopState.QUEUED) or round_ is None:
        return ""
    jobs = list(Job.objects.filter(group_id=round_.group_id)) if round_.group_id else []
    held = [job for job in jobs if job.state in ("starting", "running", "cancelling")]
    if held:
        return held[0].message or held[0].title
    if any(job.state == "queued" for job in jobs):
        return _("waits for a free %(queue)s worker") % {"queue": jobs[0].queue}
    return _("the next step starts soon")


def last_trained(loop: Loop) -> Round | None:
    """Return the last round that made a policy other than the one the loop started from."""
    rounds = loop.rounds.filter(output__isnull=False).exclude(output=loop.initial_id)
    return rounds.select_related("output").order_by("index").last()
