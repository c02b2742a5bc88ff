"""What a loop's page shows besides its numbers: new answers with their labels, people's changes, the log."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from apps.labels.selectors import label_judge, labels_of, standing_decisions
from apps.labels.types import BLIND, JUDGED, Label
from apps.samples.models import Comparison, Completion
from apps.training.changes import recipe_of
from apps.training.models import Loop, Round, Snapshot, SnapshotItem, TrainingRun
from apps.training.rounds.labels import round_origin
from apps.training.sets.directories import run_file
from prefloop.preference import outcome_at
from prefloop.store import DamagedArtifact, StoreUnavailable

LOG_BYTES = 24_000
LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A comparison for the page: A is the canonical first. `p` is of the side that won; None: no label."""

    comparison: Comparison
    outcome: str
    p: float | None
    source: str  # human | adjudication | edit | override | judge:NAME
    was: str = ""  # the judge's outcome, where a person corrected it

    @property
    def kind(self) -> str:
        if self.source == "override":
            return "override"
        return "human" if self.source in BLIND else "machine"

    @property
    def who(self) -> str:
        words = {
            "override": _("override"),
            "human": _("people"),
            "adjudication": _("adjudicated"),
            "edit": _("by editing"),
        }
        return words.get(self.source, self.source.removeprefix(JUDGED))


def latest_pairs(loop: Loop, *, limit: int = 6) -> tuple[Round | None, list[LabelledPair]]:
    """Return the newest round that has comparisons, and some of them with their current labels.

    A recipe of stored comparisons shows those of its last training set, and for a weighting of criteria the means that
    it froze: no label is made of several. People's corrections come first.
    """
    for round_ in loop.rounds.order_by("-index"):
        rows = Comparison.objects.filter(project=loop.project, origin=round_origin(loop, round_.index))
        snapshot = None
        if not rows.exists():
            snapshot = Snapshot.objects.filter(training_runs__round=round_).order_by("-id").first()
            if snapshot is None or round_.index == 0:
                continue
            rows = Comparison.objects.filter(snapshot_items__snapshot=snapshot)
        return round_, _labelled(round_, snapshot, rows.order_by("id"), limit)
    return None, []


def _labelled(round_: Round, snapshot: Snapshot | None, rows: QuerySet[Comparison], limit: int) -> list[LabelledPair]:
    loop = round_.loop
    by = [loop.judge.criterion_name] if loop.judge is not None else list(recipe_of(loop, round_.index).label.weights)
    corrections = standing_decisions(None).filter(kind="override", judge__criterion_name__in=by)
    overridden = list(rows.filter(overrides__in=corrections.exclude(choice=F("judge_outcome"))).distinct()[:limit])
    chosen = {row.pk: row for row in [*overridden, *rows[:limit]]}
    ids = sorted(chosen, key=lambda pk: (pk not in {row.pk for row in overridden}, pk))[:limit]
    found = (
        Comparison.objects.filter(pk__in=ids)
        .select_related("prompt", "first", "second")
        .defer("first__token_ids", "second__token_ids")
        .in_bulk()
    )
    if snapshot is not None and len(by) > 1:
        frozen = SnapshotItem.objects.filter(snapshot=snapshot, comparison__in=ids)
        item_of = {item.comparison_id: item for item in frozen}
        return [frozen_label(item_of[pk], found[pk]) for pk in ids]
    judge = loop.judge or label_judge(loop.project, by[0])
    labels = labels_of(comparison_ids=ids, judge=judge, criterion=by[0])
    return [_pair(found[pk], labels.get(pk)) for pk in ids]


def _pair(comparison: Comparison, label: Label | None) -> LabelledPair:
    if label is None:
        return LabelledPair(comparison, "", None, "")
    p = label.p_first
    # who says only which answer is better has said nothing of how sure it is
    side = None if p in (None, 0.0, 1.0) else max(p, 1 - p)
    was = label.replaced.outcome if label.replaced is not None else ""
    return LabelledPair(comparison, label.outcome, side, label.source, was)


def frozen_label(item: SnapshotItem, comparison: Comparison) -> LabelledPair:
    """The label in the training set, whatever happened to it since."""
    was = ""
    if item.source == "override":
        before = item.p_first_without_overrides
        was = "none" if before is None else "both_bad" if item.both_bad_without_overrides else outcome_at(before)
    if item.both_bad:
        return LabelledPair(comparison, "both_bad", None, item.source, was)
    p = max(item.p_first, 1 - item.p_first)
    return LabelledPair(comparison, outcome_at(item.p_first), p, item.source, was)


def latest_answers(round_: Round, *, limit: int = 6) -> list[Completion]:
    """The newest answers of a round, labelled or not."""
    if round_.sampling_run_id is None:
        return []
    rows = Completion.objects.filter(run_id=round_.sampling_run_id).select_related("prompt").defer("token_ids")
    return list(rows.order_by("-id")[:limit])


def training_log(loop: Loop) -> tuple[TrainingRun | None, str]:
    """The newest run of the loop and the end of its process's log."""
    run = TrainingRun.objects.filter(round__loop=loop).select_related("round").order_by("-id").first()
    if run is None:
        return None, ""
    try:
        return run, tail(run_file(run, "train.log", last=LOG_BYTES + 1))
    except (StoreUnavailable, DamagedArtifact) as error:
        return run, str(error)


def tail(end: bytes) -> str:
    """The last whole lines of a file, at most LOG_LINES, of its last LOG_BYTES and the byte before."""
    lines = end[-LOG_BYTES:].decode("utf-8", errors="replace").splitlines()
    if len(end) > LOG_BYTES:
        lines = lines[1:]
    return "\n".join(lines[-LOG_LINES:])
