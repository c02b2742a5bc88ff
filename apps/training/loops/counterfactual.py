"""A round trained again without people's overrides: what did their corrections change?

Everything else stays the same: the frozen labels, the starting policy, the reference, the seed, the evaluation prompts.
Examples that the round had only because a person overrode them are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import Job, JobState
from apps.jobs.services import JobKeyTaken, JobSpec, group_create
from apps.labels.types import FLAGGED, RATED_ANSWER
from apps.training.changes import recipe_of
from apps.training.models import (
    Counterfactual,
    CounterfactualState,
    Loop,
    Round,
    SnapshotItem,
    Stage,
    TrainingRun,
)
from apps.training.rounds.evaluation import asks, judged, judging_jobs, waits_for_judge
from apps.training.rounds.labels import as_trained, round_origin
from apps.training.rounds.material import label_material, start_of
from apps.training.rounds.stepwise import online_run_without_overrides
from apps.training.sets.directories import snapshot_here
from apps.training.sets.overrides import overridden_runs, split_overrides
from apps.training.sets.runs import training_run_create, training_run_enqueue
from apps.training.sets.snapshots import LabelledComparison, snapshot_create
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.runspec import ONLINE
from prefloop.recipes.snapshots import Demonstration, read_rows
from prefloop.types import PrefloopError

ADVANCE = "counterfactual.advance"


class CounterfactualRefused(PrefloopError):
    """A round that can't be trained again without overrides, with the reason."""


def counterfactual_of(round_: Round) -> Counterfactual | None:
    return Counterfactual.objects.filter(round=round_).select_related("run__output", "group").first()


def overridden_run(round_: Round) -> TrainingRun | None:
    """The run of a finished round whose training set contains overridden labels; None if there is none."""
    if round_.stage != Stage.DONE or round_.index == 0:
        return None
    runs = overridden_runs().filter(round=round_)
    return runs.select_related("snapshot", "start", "reference", "project").order_by("-id").first()


def counterfactual_start(*, round_: Round, by: User | None) -> Counterfactual:
    """Train a finished round again without people's overrides, and measure it; a failed attempt is resumed.

    Raises CounterfactualRefused, NothingToTrainOn.
    """
    real = overridden_run(round_)
    if real is None:
        raise CounterfactualRefused(
            f"round {round_.index} has not ended, or had no overridden label in its training set"
        )
    with transaction.atomic():
        loop = Loop.objects.select_for_update(no_key=True).get(pk=round_.loop_id)
        found = counterfactual_of(round_)
        if found is not None and found.state in (CounterfactualState.RUNNING, CounterfactualState.DONE):
            raise CounterfactualRefused(f"round {round_.index} has already been trained without overrides")
        if found is None:
            run, n_changed = _run_create(loop, round_, real)
            found = Counterfactual.objects.create(round=round_, run=run, n_changed=n_changed, started_by=by)
        Counterfactual.objects.filter(pk=found.pk).update(state=CounterfactualState.RUNNING, error="", group=None)
        audit(
            actor=by,
            verb="trained without overrides",
            target=f"loop {loop.pk}",
            project=loop.project,
            data={"round": round_.index},
        )
        found.refresh_from_db()
        _go_on(found)
    return found


def counterfactual_advance(*, counterfactual_id: int, now: datetime) -> None:
    """Do the next step when a group of its jobs has ended: measure it, or end. Repeating it does nothing more."""
    with transaction.atomic():
        found = Counterfactual.objects.select_for_update(no_key=True).get(pk=counterfactual_id)
        group = found.group
        if found.state != CounterfactualState.RUNNING or group is None or group.open_count:
            return
        if group.failed_count or group.cancelled_count:
            job = Job.objects.filter(group=group, state=JobState.FAILED).order_by("-id").first()
            state = CounterfactualState.CANCELLED if job is None else CounterfactualState.FAILED
            Counterfactual.objects.filter(pk=found.pk).update(state=state, error=job.error if job else "")
        elif found.result and not waits_for_judge(found.evaluation):
            found.result |= judged(found.evaluation)
            Counterfactual.objects.filter(pk=found.pk).update(state=CounterfactualState.DONE, result=found.result)
        else:
            _go_on(found)


def _go_on(found: Counterfactual) -> None:
    run = TrainingRun.objects.select_related("project").get(pk=found.run_id)
    payload = {"counterfactual": found.pk}
    try:
        if run.output_id is None:
            group = training_run_enqueue(run=run, follow_up_kind=ADVANCE, follow_up_payload=payload)
        elif asks(found.evaluation):
            group, told = judging_jobs(
                found.round.loop, found.evaluation, follow_up_kind=ADVANCE, follow_up_payload=payload
            )
            Counterfactual.objects.filter(pk=found.pk).update(evaluation=told)
        else:
            group = group_create(
                project=run.project,
                name=f"evaluation of counterfactual {found.pk}",
                jobs=[
                    JobSpec(
                        kind="evaluation.counterfactual",
                        queue="gpu",
                        payload=payload,
                        title="Evaluate without overrides",
                        unique_key=f"counterfactual:{found.pk}",
                    )
                ],
                follow_up_kind=ADVANCE,
                follow_up_payload=payload,
            )
    except JobKeyTaken as error:
        raise CounterfactualRefused(f"a worker is still working on it: try again soon ({error})") from error
    Counterfactual.objects.filter(pk=found.pk).update(group=group)


def _run_create(loop: Loop, round_: Round, real: TrainingRun) -> tuple[TrainingRun, int]:
    if real.kind == ONLINE:
        # its answers would differ from the first corrected label on: it samples and asks its judge anew
        return online_run_without_overrides(real), len(corrected(real))
    recipe = recipe_of(loop, round_.index)
    items = list(SnapshotItem.objects.filter(snapshot=real.snapshot_id).select_related("comparison").order_by("id"))
    labels = labels_without_overrides(loop, round_, recipe, items)
    material = label_material(loop, round_, recipe, labels, _flagged(real, recipe))
    if real.start is None:
        raise CounterfactualRefused("the policy that the round started from no longer exists")
    snapshot = snapshot_create(
        project=loop.project,
        name=f"loop-{loop.pk}-round-{round_.index}-without-overrides",
        labels=material.labels,
        start=start_of(loop),
        rows=material.rows,
        sources=material.sources,
        label_policy={"recipe": loop.recipe, "label": recipe.to_json()["label"], "without_overrides": True},
    )
    run = training_run_create(
        project=loop.project,
        round_=None,
        kind=real.kind,
        snapshot=snapshot,
        start=real.start,
        reference=real.reference,
        objective=recipe.objective,
        adapter=recipe.adapter,
        anchor=recipe.anchor,
        seed=int(real.spec["seed"]),
    )
    return run, len(corrected(real))


def _flagged(run: TrainingRun, recipe: Recipe) -> list[Demonstration]:
    """Read the flagged and the rated answers from a frozen training set: no override changes a flag or a rating."""
    if not recipe.objective.takes_single_answers or run.snapshot is None:
        return []
    rows = read_rows(snapshot_here(run.snapshot), "answers", sha256=run.snapshot.sha256)
    return [row for row in rows if row.source.startswith(FLAGGED) or row.source == RATED_ANSWER]


def corrected(run: TrainingRun) -> list[SnapshotItem]:
    """Return the labels of a run's training set that overrides made: without them they are missing or different."""
    new, again = split_overrides(SnapshotItem.objects.filter(snapshot=run.snapshot_id, source="override"))
    return [*new, *again]


def labels_without_overrides(
    loop: Loop, round_: Round, recipe: Recipe, items: Sequence[SnapshotItem]
) -> list[LabelledComparison]:
    """Return a frozen training set's labels as they would be without overrides."""
    origin = round_origin(loop, round_.index)
    labels = []
    for item in items:
        p, source = item.p_first, item.source
        label = LabelledComparison(
            item.comparison_id, p, source, tuple(item.label_ids), item.weight, p, both_bad=item.both_bad
        )
        if item.source == "override":
            stored = not item.comparison.origin.startswith("loop:")
            own = item.comparison.origin == origin or (stored and not recipe.samples)
            before = item.p_first_without_overrides
            if before is None or (recipe.memory.kind == "overrides" and not own):
                continue
            bare = replace(
                label,
                p_first=before,
                p_without_overrides=before,
                both_bad=item.both_bad_without_overrides,
                source="without-override",
                label_ids=(),
            )
            label = as_trained(loop, round_, recipe.label, bare)
        labels.append(label)
    return labels
