"""What people's corrections change in the labels of a project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from django.utils.translation import ngettext

from apps.labels.derive import derive, standing_override
from apps.labels.models import Judge
from apps.labels.selectors import events_of
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


def override_effect(
    project: Project, *, judge: Judge | None, comparison_ids: Collection[int] | None = None
) -> OverrideEffect:
    """Compare the labels with and without people's corrections, for a project or for some of its comparisons."""
    rows = Comparison.objects.filter(ready(), comparable(), project=project, overrides__isnull=False).distinct()
    ids = list(rows.values_list("id", flat=True))
    if comparison_ids is not None:
        ids = sorted(set(ids) & set(comparison_ids))
    events = events_of(comparison_ids=ids, judge=judge)
    decided = {key: standing_override(said.overrides) for key, said in events.items()}
    counts: Counter[str] = Counter()
    for key, said in events.items():
        decision = decided[key]
        if decision is None:
            continue
        counts["reviewed"] += 1
        agrees = said.judge is not None and (said.judge.judge, said.judge.outcome) == (decision.judge, decision.choice)
        if decision.kind != "override" or agrees:
            continue
        counts["overridden"] += 1
        label = derive(votes=said.votes, overrides=said.overrides, judge=said.judge)
        if label is None or (label.replaced is not None and label.replaced.outcome == label.outcome):
            continue
        before, after = label.p_without_overrides, label.p_first
        counts["changed"] += 1
        if before is not None and after is not None:
            counts["flipped"] += (before - 0.5) * (after - 0.5) < 0
        counts["added"] += before is None and after is not None
        counts["removed"] += before is not None and after is None
    return OverrideEffect(
        counts["reviewed"],
        counts["overridden"],
        counts["changed"],
        counts["flipped"],
        counts["added"],
        counts["removed"],
    )
