"""How far people are with practice, and whether they may have real pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.labels.gold_models import gold_ratings_of
from apps.labels.models import GoldItem
from apps.projects.models import Membership, Project, Role
from apps.prompts.models import ready
from apps.rankings.models import Place
from apps.rankings.practice_models import PracticeAnswer
from apps.samples.models import Comparison, comparable
from prefloop.seeds import derive_seed

Items = QuerySet[Comparison] | QuerySet[GoldItem]


@dataclass(frozen=True, slots=True)
class Practice:
    """One person's practice: `bound` per cent of `n` items (pairs, or answers to rate) have to be right."""

    user: User
    n: int
    n_answered: int
    n_right: int
    bound: int
    is_qualified: bool  # passed, or let in by a lead
    attempt: int

    @property
    def n_needed(self) -> int:
        return ceil(self.n * self.bound / 100)

    @property
    def is_over(self) -> bool:
        return self.n_answered >= self.n


def practice_pairs(project: Project) -> QuerySet[Comparison]:
    """Return the pairs that people practise on, in order."""
    rows = Comparison.objects.filter(ready(), comparable(), project=project, gold_item__for_practice=True)
    return rows.exclude(gold="").select_related("prompt", "first", "second", "gold_item").order_by("pk")


def practice_ratings(project: Project) -> QuerySet[GoldItem]:
    """Return the answers that people practise to rate on, in order, each with its right rating."""
    rows = gold_ratings_of(project).filter(ready("completion__prompt__"), for_practice=True)
    return rows.select_related("completion__prompt", "completion__project").order_by("completion")


def practice_items(project: Project) -> Items:
    """Return what people practise on where the project's task is this one: its answers or its pairs."""
    return practice_ratings(project) if project.asks_ratings else practice_pairs(project)


def practice_of(project: Project, user: User) -> Practice:
    """Read how far a person is."""
    place = Place.objects.filter(project=project, user=user).first() or Place(project=project, user=user)
    return _practice(project, user, place, _on(project))


def practices_of(project: Project) -> list[Practice]:
    """Read how far every annotator is, by name."""
    on = _on(project)
    places = {place.user_id: place for place in Place.objects.filter(project=project, user__isnull=False)}
    members = Membership.objects.filter(project=project, role=Role.ANNOTATOR).select_related("user")
    nowhere = Place(project=project)
    return [
        _practice(project, member.user, places.get(member.user_id, nowhere), on)
        for member in members.order_by("user__username")
    ]


def _on(project: Project) -> tuple[str, list[int]]:
    """What people practise on: the field of a PracticeAnswer that names it, and its ids."""
    if project.asks_ratings:
        return "completion", list(practice_ratings(project).values_list("completion", flat=True))
    return "comparison", list(practice_pairs(project).values_list("pk", flat=True))


def _practice(project: Project, user: User, place: Place, on: tuple[str, list[int]]) -> Practice:
    name, ids = on
    said = list(PracticeAnswer.objects.filter(**{f"{name}__in": ids}, user=user, attempt=place.attempt))
    return Practice(
        user=user,
        n=len(ids),
        n_answered=len(said),
        n_right=sum(answer.is_right for answer in said),
        bound=project.practice_bound or 0,
        is_qualified=place.is_qualified,
        attempt=place.attempt,
    )


def must_practise(project: Project, user: User, place: Place | None = None) -> bool:
    """Whether a person gets practice pairs before real ones: an annotator who is not qualified, where that is asked."""
    if project.practice_bound is None:
        return False
    if place is None:
        place = Place.objects.filter(project=project, user=user).first()
    if place is not None and place.is_qualified:
        return False
    if not Membership.objects.filter(project=project, user=user, role=Role.ANNOTATOR).exists():
        return False
    return practice_items(project).exists()


def practice_answer_of(practice: Practice, comparison_id: int) -> PracticeAnswer | None:
    """Return what a person answered on a pair in this attempt."""
    names = ("prompt", "first", "second", "gold_item", "project")
    return _answers(practice, comparison=comparison_id, read=[f"comparison__{name}" for name in names]).first()


def practice_rating_of(practice: Practice, completion_id: int) -> PracticeAnswer | None:
    """Return how a person rated an answer in this attempt."""
    return _answers(practice, completion=completion_id, read=["completion__prompt", "completion__gold_item"]).first()


def practice_next(project: Project, practice: Practice) -> Comparison | None:
    """Return the next pair that a person practises on."""
    done = _answers(practice, comparison__isnull=False).values("comparison")
    return practice_pairs(project).exclude(pk__in=done).first()


def practice_rating_next(project: Project, practice: Practice) -> GoldItem | None:
    """Return the next answer that a person practises to rate."""
    done = _answers(practice, completion__isnull=False).values("completion")
    return practice_ratings(project).exclude(completion__in=done).first()


def _answers(practice: Practice, *, read: Sequence[str] = (), **on: Any) -> QuerySet[PracticeAnswer]:
    mine = PracticeAnswer.objects.filter(user=practice.user, attempt=practice.attempt, **on)
    return mine.select_related(*read) if read else mine


def practice_order(comparison: Comparison, user: User) -> str:
    """Which answer is shown left in practice: drawn for the person and the pair."""
    return "01" if derive_seed(comparison.pk, "practice", user.pk) % 2 else "10"
