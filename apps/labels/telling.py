"""Telling of what people said of a pair, to whoever hears of it outside."""

from __future__ import annotations

from apps.events.telling import tell
from apps.labels.models import Override, Vote
from apps.projects.models import Project


def told(kind: str, project: Project, vote: Vote) -> None:
    """Tell of a vote or of a lead's decision, in its transaction. `choice` is what is, or was, chosen."""
    tell(
        kind,
        project,
        vote=vote.pk,
        comparison=vote.comparison_id,
        rater=vote.rater,
        choice=vote.choice,
        reason=vote.reason,
    )


def decision_told(kind: str, project: Project, override: Override) -> None:
    """Tell of a decision on a judge's label, in its transaction."""
    tell(
        kind,
        project,
        override=override.pk,
        judge=override.judge.name,
        kind=override.kind,
        judge_outcome=override.judge_outcome,
        comparison=override.comparison_id,
        rater=override.rater,
        choice=override.choice,
        reason=override.reason,
    )
