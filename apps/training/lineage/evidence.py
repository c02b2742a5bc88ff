"""What a loop's page shows besides its numbers: new answers with their labels, people's changes, the log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.labels.selectors import label_judge, labels_of
from apps.labels.types import BLIND, JUDGED, Label
from apps.policies.store import store_path
from apps.samples.models import Comparison, Completion
from apps.training.models import Loop, Round, Snapshot, TrainingRun
from apps.training.rounds.labels import round_origin

LOG_BYTES = 24_000
LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A comparison for the page: A is the canonical first. `p` is of the side that won; None: no label."""

    comparison: Comparison
    outcome: str
    p: float | None
    source: str  # human | adjudication | override | judge:NAME
    was: str = ""  # the judge's outcome, where a person corrected it

    @property
    def kind(self) -> str:
        if self.source == "override":
            return "override"
        return "human" if self.source in BLIND else "machine"

    @property
    def who(self) -> str:
        words = {"override": _("override"), "human": _("people"), "adjudication": _("adjudicated")}
        return words.get(self.source, self.source.removeprefix(JUDGED))


def latest_pairs(loop: Loop, *, limit: int = 6) -> tuple[Round | None, list[LabelledPair]]:
    """Return the newest round that has comparisons, and some of them with their current labels.

    A recipe of stored comparisons shows those of its last training set. People's corrections come first.
    """
    for round_ in loop.rounds.order_by("-index"):
        rows = Comparison.objects.filter(project=loop.project, origin=round_origin(loop, round_.index))
        if not rows.exists():
            snapshot = Snapshot.objects.filter(training_runs__round=round_).order_by("-id").first()
            if snapshot is None or round_.index == 0:
                continue
            rows = Comparison.objects.filter(snapshot_items__snapshot=snapshot)
        return round_, _labelled(loop, rows.order_by("id"), limit)
    return None, []


def _labelled(loop: Loop, rows: QuerySet[Comparison], limit: int) -> list[LabelledPair]:
    overridden = list(rows.filter(overrides__kind="override").distinct()[:limit])
    chosen = {row.pk: row for row in [*overridden, *rows[:limit]]}
    ids = sorted(chosen, key=lambda pk: (pk not in {row.pk for row in overridden}, pk))[:limit]
    found = (
        Comparison.objects.filter(pk__in=ids)
        .select_related("prompt", "first", "second")
        .defer("first__token_ids", "second__token_ids")
        .in_bulk()
    )
    judge = loop.judge or label_judge(loop.project)
    labels = labels_of(comparison_ids=ids, judge=judge)
    return [_pair(found[pk], labels.get(pk)) for pk in ids]


def _pair(comparison: Comparison, label: Label | None) -> LabelledPair:
    if label is None:
        return LabelledPair(comparison, "", None, "")
    p = label.p_first
    # who says only which answer is better has said nothing of how sure it is
    side = None if p in (None, 0.0, 1.0) else max(p, 1 - p)
    was = label.replaced.outcome if label.replaced is not None else ""
    return LabelledPair(comparison, label.outcome, side, label.source, was)


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
    return run, tail(store_path(run.run_dir) / "train.log")


def tail(path: Path) -> str:
    """The last whole lines of a file, at most LOG_LINES; "" if there is no file."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            size = stream.tell()
            stream.seek(max(0, size - LOG_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = text.splitlines()
    if size > LOG_BYTES:
        lines = lines[1:]
    return "\n".join(lines[-LOG_LINES:])
