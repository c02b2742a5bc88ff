"""Deleting a person's labels, or keeping them under another name, and forgetting judges' replies in full.

Labels are only appended otherwise. Whoever calls this derives and counts again what follows from them (apps/removal).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from apps.labels.models import Exclusion, Override, PairFlag, Ranking, Rating, Score, Verdict, Vote
from apps.projects.models import Project
from apps.samples.models import Completion


def ratings_by(project: Project, rater: str) -> QuerySet[Rating]:
    return Rating.objects.filter(completion__project=project, rater=rater)


def label_ids_of(project: Project, rater: str) -> set[str]:
    """Name a person's votes, decisions and ratings as labels and training sets do: "vote:7"."""
    said: dict[str, Any] = {"vote": Vote, "override": Override}
    ids = {
        f"{name}:{pk}"
        for name, model in said.items()
        for pk in model.objects.filter(comparison__project=project, rater=rater).values_list("pk", flat=True)
    }
    return ids | {f"rating:{pk}" for pk in ratings_by(project, rater).values_list("pk", flat=True)}


def labels_delete(project: Project, rater: str) -> list[int]:
    """Delete a person's labels; return the comparisons on which the person voted or decided."""
    votes = Vote.objects.filter(comparison__project=project, rater=rater)
    decisions = Override.objects.filter(comparison__project=project, rater=rater)
    touched = {*votes.values_list("comparison", flat=True), *decisions.values_list("comparison", flat=True)}
    rankings = Ranking.objects.filter(prompt__project=project, rater=rater)
    flags = PairFlag.objects.filter(Q(comparison__project=project) | Q(completion__project=project), rater=rater)
    for rows in (votes, decisions, rankings, ratings_by(project, rater), flags):
        rows._raw_delete(rows.db)  # a label and the one that it replaces are deleted together
    Exclusion.objects.filter(project=project, rater=rater).delete()
    return sorted(touched)


def labels_rename(project: Project, rater: str, pseudonym: str) -> None:
    """Keep a person's labels and edits under another name, which leads to no account."""
    new = {"rater": pseudonym, "user": None}
    Vote.objects.filter(comparison__project=project, rater=rater).update(**new)
    Override.objects.filter(comparison__project=project, rater=rater).update(**new)
    ratings_by(project, rater).update(**new)
    Ranking.objects.filter(prompt__project=project, rater=rater).update(**new)
    flags = PairFlag.objects.filter(Q(comparison__project=project) | Q(completion__project=project))
    flags.filter(rater=rater).update(**new)
    flags.filter(resolved_by=rater).update(resolved_by=pseudonym)
    Completion.objects.filter(project=project, editor=rater).update(editor=pseudonym)
    Exclusion.objects.filter(project=project, rater=rater).update(rater=pseudonym)


def seats_forget(*, seats: Iterable[Any], rating_seats: Iterable[Any]) -> None:
    """Let votes and ratings no longer say in which seat they were given."""
    Vote.objects.filter(assignment__in=seats).update(assignment=None)
    Rating.objects.filter(seat__in=rating_seats).update(seat=None)


def replies_forget(project: Project, before: datetime) -> int:
    """Remove the text and the reasons of replies from before then; verdicts and scores stay. Returns how many."""
    said = ~Q(raw="") | ~Q(rationale="")
    old = {"judge__project": project, "created_at__lt": before}
    n = Verdict.objects.filter(said, **old).update(raw="", rationale="")
    return n + Score.objects.filter(said, **old).update(raw="", rationale="")
