"""Telling of what people said of a pair, to whoever hears of it outside."""

from __future__ import annotations

from apps.events.telling import tell
from apps.labels.models import Override, Rating, Vote
from apps.projects.models import Project


def told(kind: str, project: Project, vote: Vote) -> None:
    """Tell of a vote or of a lead's decision, in its transaction. `choice` is what is, or was, chosen."""
    tell(
        kind,
        project,
        vote=vote.pk,
        comparison=vote.comparison_id,
        rater=vote.rater,
        criterion=vote.criterion,
        choice=vote.choice,
        reason=vote.reason,
        reasons=vote.reasons,
        marks=vote.marks,
    )


def rating_told(kind: str, project: Project, rating: Rating) -> None:
    """Tell of a rating, in its transaction."""
    tell(
        kind,
        project,
        rating=rating.pk,
        answer=rating.completion_id,
        prompt=rating.completion.prompt_id,
        rater=rating.rater,
        choice=rating.choice,
        values=rating.values,
        total=rating.total,
        reason=rating.reason,
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
        criterion=override.judge.criterion_name,
        choice=override.choice,
        reason=override.reason,
    )
