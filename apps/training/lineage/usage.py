"""The lineage of labels, both ways: from a comparison to the checkpoints trained on it, and back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.labels.types import PEOPLE
from apps.policies.models import Checkpoint
from apps.samples.models import Comparison
from apps.training.lineage.evidence import LabelledPair, frozen_label
from apps.training.models import Snapshot, SnapshotItem, TrainingRun

SHOW = ("all", "overrides", "people")

MOST_USES = 200


@dataclass(frozen=True, slots=True)
class Use:
    """One training set that contains a comparison: its label at the time of freezing, and the runs that used it."""

    item: SnapshotItem
    pair: LabelledPair
    runs: tuple[TrainingRun, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """`heirs`: checkpoints trained further from those of the uses, without those themselves."""

    uses: tuple[Use, ...]
    heirs: tuple[Checkpoint, ...]


def usage_of(comparison: Comparison) -> Usage:
    """Return where a comparison was trained on, the newest training set first (at most MOST_USES)."""
    items = SnapshotItem.objects.filter(comparison=comparison).select_related("snapshot").order_by("-snapshot_id")
    found = list(items[:MOST_USES])
    runs: dict[int, list[TrainingRun]] = defaultdict(list)
    for run in (
        TrainingRun.objects.filter(snapshot__in=[item.snapshot_id for item in found])
        .select_related("output", "round__loop")
        .order_by("id")
    ):
        if run.snapshot_id is not None:
            runs[run.snapshot_id].append(run)
    uses = tuple(Use(item, frozen_label(item, comparison), tuple(runs[item.snapshot_id])) for item in found)
    made = {run.output_id for use in uses for run in use.runs if run.output_id is not None}
    return Usage(uses, _heirs(comparison.project_id, made))


def _heirs(project_id: int, made: set[int]) -> tuple[Checkpoint, ...]:
    """Everything trained from these checkpoints, however many steps away; one query."""
    if not made:
        return ()
    rows = list(Checkpoint.objects.filter(project_id=project_id).defer("manifest").order_by("id"))
    known = set(made)
    for row in rows:  # a parent is always older than its child
        if row.parent_id in known:
            known.add(row.pk)
    return tuple(row for row in rows if row.pk in known - made)


def labels_behind(snapshot: Snapshot, *, show: str = "all") -> QuerySet[SnapshotItem]:
    """Return the labels of a training set in their order; `show`: all, people's, or their overrides only."""
    rows = SnapshotItem.objects.filter(snapshot=snapshot)
    if show == "overrides":
        rows = rows.filter(source="override")
    elif show == "people":
        rows = rows.filter(source__in=PEOPLE)
    return rows.select_related("comparison__prompt", "comparison__first", "comparison__second").order_by("id")
