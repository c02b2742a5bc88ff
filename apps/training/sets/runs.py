"""Training runs: written for the training process, and read back from its events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_shape
from apps.policies.services import room_on_disk
from apps.policies.store import store_path
from apps.projects.models import Project
from apps.training.changes import recipe_of
from apps.training.models import Counterfactual, Loop, Metric, Round, Snapshot, TrainingRun
from apps.training.sets.directories import run_dir_made, run_file
from prefloop.memory import PLENTY, Memory
from prefloop.precision import WIDTHS, on_cpu
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import Event, read_events
from prefloop.recipes.recipe import Anchor, Objective
from prefloop.recipes.runspec import EVENTS_FILE, ONLINE, SPEC_FILE, RunSpec, portable, spec_from, write_spec

FIXED = Anchor()  # no anchor: a reference that stays
JUDGED_ATTEMPTS = 30  # a judge that is down for a while is waited for: up to a minute between two of them


def training_run_create(
    *,
    project: Project,
    round_: Round | None,
    kind: str,
    snapshot: Snapshot,
    start: Checkpoint,
    reference: Checkpoint | None,
    objective: Objective,
    adapter: Adapter,
    seed: int,
    anchor: Anchor = FIXED,
    keep_every: int = 0,
) -> TrainingRun:
    """Make a run, its directory and its spec. The run is not enqueued yet.

    `keep_every`: steps after which the policy is kept, to be measured on the way. Raises QuotaReached.
    """
    with transaction.atomic():
        room_on_disk(project, start.n_bytes)  # its result takes as much
        run = TrainingRun.objects.create(
            project=project,
            round=round_,
            kind=kind,
            snapshot=snapshot,
            start=start,
            reference=reference if objective.needs_reference else None,
            run_dir="",
        )
        run.run_dir = f"{project.slug}/runs/{run.pk}"
        spec = RunSpec(
            run_id=f"{project.slug}-{run.pk}",
            kind=kind,
            start=str(store_path(start.path)),
            snapshot=str(store_path(snapshot.path)),
            snapshot_sha256=snapshot.sha256,
            reference=str(store_path(reference.path)) if reference and objective.needs_reference else None,
            objective=objective,
            adapter=adapter,
            anchor=anchor,
            seed=seed,
            **how_it_computes(),
            save_every=25,
            keep_every=keep_every,
            parent=start.name,
        )
        run.spec = {"objective": objective.__dict__ if hasattr(objective, "__dict__") else {}, "seed": seed}
        run.save(update_fields=["run_dir", "spec"])
        folder = store_path(run.run_dir)
        write_spec(folder, portable(spec, folder, root=store_path("")))
        run_dir_made(run)
    return run


def how_it_computes() -> dict[str, Any]:
    """What this installation's settings say of the processes of every run."""
    return {
        "threads": settings.WORKER_THREADS,
        "processes": settings.TRAINING_PROCESSES,
        "shard": settings.TRAINING_SHARD,
        "precision": settings.PRECISION,
    }


def training_run_enqueue(
    *, run: TrainingRun, follow_up_payload: dict[str, int], follow_up_kind: str = "rounds.advance"
) -> JobGroup:
    """Enqueue the run; after a failure, it is tried again and continues from its last checkpoint."""
    spec, loop = spec_from(run_file(run, SPEC_FILE)), loop_of(run)
    return group_create(
        project=run.project,
        name=f"training run {run.pk}",
        jobs=[
            JobSpec(
                kind="training.run",
                queue="gpu",
                payload={"run": run.pk},
                title=f"Train ({run.kind})",
                unique_key=f"training:{run.pk}",
                max_attempts=JUDGED_ATTEMPTS if run.kind == ONLINE else 5,
                cards=spec.processes * settings.CARDS,
                memory=run_memory(run, spec),
            )
        ],
        follow_up_kind=follow_up_kind,
        follow_up_payload=follow_up_payload,
        started_by=loop.started_by if loop is not None else None,
    )


def run_memory(run: TrainingRun, spec: RunSpec) -> int:
    """The most bytes that the processes of a run hold, on rows of usual length; 0 where that can't be said.

    On a card they hold as much of the card's memory, and no more than this of the machine's. Where the run decides
    whether its processes share the weights, they are counted as not shared.
    """
    shape = checkpoint_shape(run.start) if run.start is not None else None
    if shape is None:
        return 0
    precision = on_cpu(spec.precision, shape, threads=spec.threads, folder=settings.VAR_DIR)
    lora = spec.adapter.resolved(shape.n_parameters).kind == "lora"
    plan = Memory(shape, WIDTHS[precision], lora, shards=spec.processes if spec.shard == "always" else 1)
    beside = 0  # models that are there in every step: of stored rows, references are read before the optimizer is
    if spec.online is not None:
        beside = sum(model is not None for model in (spec.reference, spec.online.reward_model, spec.online.judge))
    peak = plan.peak(plan.passes(PLENTY, most=spec.token_budget, on_cpu=True))
    held = spec.processes * (peak + beside * plan.weights())
    if plan.shards == 1:
        return held
    # each process reads the whole model before it keeps its part, and the first has a checkpoint whole
    return held + spec.processes * plan.weights() + replace(plan, shards=1).fixed()


def loop_of(run: TrainingRun) -> Loop | None:
    """The loop that a run belongs to, through its round or counterfactual; None: it is independent."""
    if run.round is not None:
        return run.round.loop
    found = Counterfactual.objects.filter(run=run).select_related("round__loop__judge__endpoint").first()
    return found.round.loop if found is not None else None


def checkpoint_name(loop: Loop, index: int) -> str:
    """Name the policy that round `index` of a loop produces."""
    return f"{loop.recipe}-{loop.pk}-round-{index}"


def output_name(run: TrainingRun) -> str:
    """Name the checkpoint that a run ends with."""
    if run.round is None:
        counterfactual = Counterfactual.objects.filter(run=run).select_related("round__loop").first()
        if counterfactual is None:
            return f"{run.kind}-{run.pk}"
        return f"{checkpoint_name(counterfactual.round.loop, counterfactual.round.index)}-without-overrides"
    if run.kind == "reward-model":
        return f"reward-model-{run.pk}"
    if run.round.index == 0:
        return f"{run.round.loop.recipe}-{run.round.loop_id}-m1"  # what a self-rewarding loop begins with
    name = checkpoint_name(run.round.loop, run.round.index)
    n_steps = recipe_of(run.round.loop, run.round.index).filter.n_steps
    step = TrainingRun.objects.filter(round=run.round, pk__lte=run.pk).count()
    return name if step >= n_steps else f"{name}-step-{step}"  # ReST: only the last Improve step is the round's


def events_path(run: TrainingRun) -> Path:
    return store_path(run.run_dir) / EVENTS_FILE


def events_ingest(*, run: TrainingRun) -> list[Event]:
    """Store what the training process reported since the last time, in the caller's transaction; return it.

    Rows past the step that a resume starts from are superseded: deleted, to be written again.
    """
    events, offset = read_events(events_path(run), run.events_offset)
    if offset == run.events_offset:
        return []
    metrics: dict[int, dict[str, float]] = {}
    for event in events:
        if event.type == "resume":
            back_to = event.step or 0
            Metric.objects.filter(run=run, step__gt=back_to).delete()
            metrics = {step: values for step, values in metrics.items() if step <= back_to}
        elif event.type == "metric" and event.step is not None:
            metrics[event.step] = event.data["values"]
        elif event.type == "start":
            run.n_steps = int(event.data.get("n_steps", run.n_steps))
        if event.type in ("metric", "resume", "start") and event.step is not None:
            run.step = event.step
        if event.data.get("peak", {}).get("bytes", 0) > run.peak.get("bytes", 0):
            run.peak = event.data["peak"]
    Metric.objects.bulk_create(
        [Metric(run=run, step=step, values=values) for step, values in metrics.items()],
        update_conflicts=True,
        unique_fields=["run", "step"],
        update_fields=["values"],
        batch_size=200,
    )
    run.events_offset = offset
    run.save(update_fields=["events_offset", "step", "n_steps", "peak"])
    return events
