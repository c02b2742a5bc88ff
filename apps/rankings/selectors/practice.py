"""How far people are with practice, and whether they may have real pairs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.projects.models import Membership, Project, Role
from apps.prompts.models import ready
from apps.rankings.models import Place
from apps.rankings.practice_models import PracticeAnswer
from apps.samples.models import Comparison, comparable
from prefloop.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Practice:
    """One person's practice: `bound` per cent of `n` pairs have to be right."""

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


def practice_of(project: Project, user: User) -> Practice:
    """Read how far a person is."""
    place = Place.objects.filter(project=project, user=user).first() or Place(project=project, user=user)
    return _practice(project, user, place, list(practice_pairs(project).values_list("pk", flat=True)))


def practices_of(project: Project) -> list[Practice]:
    """Read how far every annotator is, by name."""
    pairs = list(practice_pairs(project).values_list("pk", flat=True))
    places = {place.user_id: place for place in Place.objects.filter(project=project, user__isnull=False)}
    members = Membership.objects.filter(project=project, role=Role.ANNOTATOR).select_related("user")
    nowhere = Place(project=project)
    return [
        _practice(project, member.user, places.get(member.user_id, nowhere), pairs)
        for member in members.order_by("user__username")
    ]


def _practice(project: Project, user: User, place: Place, pairs: list[int]) -> Practice:
    answers = PracticeAnswer.objects.filter(user=user, comparison__in=pairs, attempt=place.attempt)
    said = list(answers.values_list("choice", "gold"))
    return Practice(
        user=user,
        n=len(pairs),
        n_answered=len(said),
        n_right=sum(choice == gold for choice, gold in said),
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
    return practice_pairs(project).exists()


def practice_answer_of(practice: Practice, comparison_id: int) -> PracticeAnswer | None:
    """Return what a person answered on a pair in this attempt."""
    mine = PracticeAnswer.objects.filter(user=practice.user, attempt=practice.attempt, comparison=comparison_id)
    names = ("prompt", "first", "second", "gold_item", "project")
    return mine.select_related(*(f"comparison__{name}" for name in names)).first()


def practice_next(project: Project, practice: Practice) -> Comparison | None:
    """Return the next pair that a person practises on."""
    done = PracticeAnswer.objects.filter(user=practice.user, attempt=practice.attempt).values("comparison")
    return practice_pairs(project).exclude(pk__in=done).first()


def practice_order(comparison: Comparison, user: User) -> str:
    """Which answer is shown left in practice: drawn for the person and the pair."""
    return "01" if derive_seed(comparison.pk, "practice", user.pk) % 2 else "10"
