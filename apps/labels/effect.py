"""What people's corrections change in the labels of a project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from django.utils.translation import ngettext

from apps.core.chunks import chunks
from apps.labels.derive import derive, standing_override
from apps.labels.models import Judge, ReviewCount
from apps.labels.selectors import CHUNK, events_of
from apps.labels.types import Events
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison, comparable


@dataclass(frozen=True, slots=True)
class OverrideEffect:
    """How people's corrections changed the training labels."""

    n_reviewed: int
    n_overridden: int
    n_changed: int  # labels that differ from what they would be without overrides
    n_flipped: int  # of them: from one answer to the other
    n_added: int  # of them: no pair before (inconsistent, both bad, nothing), a pair now
    n_removed: int  # of them: a pair before, none now

    @property
    def in_words(self) -> str:
        """A summary in one line."""
        parts = [
            ngettext("%d flipped", "%d flipped", self.n_flipped) % self.n_flipped if self.n_flipped else "",
            ngettext("%d added", "%d added", self.n_added) % self.n_added if self.n_added else "",
            ngettext("%d taken out", "%d taken out", self.n_removed) % self.n_removed if self.n_removed else "",
        ]
        return ", ".join(part for part in parts if part)


# what a decision changed, and the counts that it belongs to
COUNTED = {
    "agreed": ("n_reviewed",),
    "same": ("n_reviewed", "n_overridden"),
    "changed": ("n_reviewed", "n_overridden", "n_changed"),
    "flipped": ("n_reviewed", "n_overridden", "n_changed", "n_flipped"),
    "added": ("n_reviewed", "n_overridden", "n_changed", "n_added"),
    "removed": ("n_reviewed", "n_overridden", "n_changed", "n_removed"),
}
EFFECTS = ("n_reviewed", "n_overridden", "n_changed", "n_flipped", "n_added", "n_removed")


def effect_of(said: Events) -> str:
    """Say what people's decision changed in one label: one of `COUNTED`, "" if there is no decision."""
    decision = standing_override(said.overrides)
    if decision is None:
        return ""
    agrees = said.judge is not None and (said.judge.judge, said.judge.outcome) == (decision.judge, decision.choice)
    if decision.kind != "override" or agrees:
        return "agreed"
    label = derive(votes=said.votes, overrides=said.overrides, judge=said.judge)
    if label is None or (label.replaced is not None and label.replaced.outcome == label.outcome):
        return "same"
    before, after = label.p_without_overrides, label.p_first
    if before is None or after is None:
        return "added" if after is not None else "removed" if before is not None else "changed"
    return "flipped" if (before - 0.5) * (after - 0.5) < 0 else "changed"


def override_effect(project: Project, *, judge: Judge | None, comparison_ids: Collection[int]) -> OverrideEffect:
    """Compare the labels of some comparisons with and without people's corrections."""
    ids = [
        key
        for part in chunks(sorted(set(comparison_ids)), CHUNK)
        for key in Comparison.objects.filter(
            ready(), comparable(), project=project, overrides__isnull=False, pk__in=part
        )
        .order_by("id")
        .values_list("id", flat=True)
        .distinct()
    ]
    events = events_of(comparison_ids=ids, judge=judge)
    counts: Counter[str] = Counter()
    for said in events.values():
        counts.update(COUNTED.get(effect_of(said), ()))
    return OverrideEffect(**{name: counts[name] for name in EFFECTS})


def override_effect_kept(judge: Judge) -> OverrideEffect:
    """Read what people's corrections changed in the labels of all comparisons that a judge labelled."""
    kept = ReviewCount.objects.filter(judge=judge).values(*EFFECTS).first()
    return OverrideEffect(**(kept or dict.fromkeys(EFFECTS, 0)))
