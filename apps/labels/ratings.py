"""Ratings of single answers: reading those that stand, appending, and the comparisons that follow from two of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from apps.accounts.models import User
from apps.labels.gold_models import prompt_measures
from apps.labels.models import RATED, Exclusion, Rating, Vote
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Completion
from prefloop.types import CANT_JUDGE

MIDDLE = 1e-6  # a total that is no further from a half says neither that an answer is good nor that it is bad
WANTED = (RATED, CANT_JUDGE)  # what a wanted rating may be; a skip leaves it to others


def standing_ratings(project: Project | None = None) -> QuerySet[Rating]:
    """Return the current ratings: neither replaced nor withdrawn, those of excluded people among them."""
    rows = Rating.objects.filter(superseded_by__isnull=True).exclude(choice="withdrawn")
    return rows if project is None else rows.filter(completion__project=project)


def excluded_rater() -> Exists:
    """Say in SQL whether the person of a rating is excluded for the time at which it was given."""
    given = Coalesce(OuterRef("at"), OuterRef("created_at"))
    theirs = Exclusion.objects.filter(project=OuterRef("completion__project"), rater=OuterRef("rater"), lifted_at=None)
    return Exists(theirs.filter(Q(since=None) | Q(since__lte=given)))


def counting_ratings(project: Project | None = None) -> QuerySet[Rating]:
    """Return the current ratings that comparisons, reports and exports are made of."""
    return standing_ratings(project).filter(~excluded_rater())


def ratings_given(project: Project) -> QuerySet[Rating]:
    """The ratings that count and have values."""
    return counting_ratings(project).filter(ready("completion__prompt__"), choice=RATED)


def ratings_to_learn(project: Project) -> QuerySet[Rating]:
    """Those of them that may be trained on: none of evaluation prompts, nor of prompts with a gold item."""
    return ratings_given(project).filter(~prompt_measures(), completion__prompt__split="train")


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer with what people's ratings of it come to: each person's total weighs the same."""

    answer: Completion
    total: float  # from 0 to 1
    rating_ids: tuple[int, ...]

    @property
    def desirable(self) -> bool | None:
        """Above the middle of the scale, or below; None in the middle, which says neither."""
        return None if abs(self.total - 0.5) <= MIDDLE else self.total > 0.5


def rated_answers(ratings: QuerySet[Rating]) -> list[RatedAnswer]:
    """Bring ratings together by their answers, in the answers' order."""
    by_answer: dict[int, list[Rating]] = {}
    for rating in ratings.select_related("completion__prompt").order_by("completion", "id"):
        by_answer.setdefault(rating.completion_id, []).append(rating)
    return [
        RatedAnswer(
            answer=rows[0].completion,
            total=sum(row.total or 0.0 for row in rows) / len(rows),
            rating_ids=tuple(row.pk for row in rows),
        )
        for rows in by_answer.values()
    ]


def last_rating(completion_id: int, user: User) -> Rating | None:
    """Give the end of this person's line of ratings of an answer, which may be a withdrawal."""
    mine = Rating.objects.filter(completion=completion_id, user=user, superseded_by__isnull=True)
    return mine.select_related("completion").first()


def rating_rater(user: User, project: Project, completion_id: int) -> str:
    """The name for this person's next rating: the one that they have in the project, unless an import has a rater of
    that name (apps/labels/raters.py).
    """
    voted = Vote.objects.filter(user=user, comparison__project=project).order_by("-id")
    rated = Rating.objects.filter(user=user, completion__project=project).order_by("-id")
    known = voted.values_list("rater", flat=True).first() or rated.values_list("rater", flat=True).first()
    name, n = known or user.username, 1
    imported = Rating.objects.filter(user=None, completion__project=project)
    voting = Vote.objects.filter(user=None, comparison__project=project)
    while imported.filter(rater=name, completion=completion_id).exists() or (
        (known is None or name != known)
        and (imported.filter(rater=name).exists() or voting.filter(rater=name).exists())
    ):
        name = f"{user.username} (account{f' {n}' if n > 1 else ''})"
        n += 1
    return name


def rating_withdraw(*, rating: Rating, now: datetime) -> Rating:
    """Append that a person takes their rating back. The caller has locked the answer."""
    return Rating.objects.create(
        completion=rating.completion,
        seat_id=rating.seat_id,
        user_id=rating.user_id,
        rater=rating.rater,
        choice="withdrawn",
        at=now,
        guideline=rating.guideline,
        supersedes=rating,
    )


def beside(rating: Rating) -> list[Rating]:
    """The same person's ratings of other answers to the prompt, by the same items: those that it can be compared
    with.
    """
    rows = standing_ratings().filter(completion__prompt=rating.completion.prompt_id, choice=RATED)
    rows = rows.filter(rater=rating.rater, user=rating.user_id).exclude(completion=rating.completion_id)
    return [row for row in rows.select_related("completion").order_by("completion") if row.rubric == rating.rubric]


def votes_from(rating: Rating) -> list[Vote]:
    """The votes that follow from this rating and others of the same account, and stand; where an import has somebody of
    its name on a pair, the vote has another.
    """
    here = Q(comparison__first=rating.completion_id) | Q(comparison__second=rating.completion_id)
    rows = Vote.objects.filter(here, user=rating.user_id, superseded_by__isnull=True)
    rows = rows.filter(ranking__rating__isnull=False).exclude(choice="withdrawn")
    return list(rows.select_related("comparison__project").order_by("comparison"))


def groups_of(earlier: Rating, later: Rating) -> list[list[int]]:
    """Two ratings as a ranking of their answers, the better first; equal totals are a tie."""
    a, b = (earlier, later) if (earlier.total or 0.0) >= (later.total or 0.0) else (later, earlier)
    ids = [a.completion_id, b.completion_id]
    return [sorted(ids)] if a.total == b.total else [[one] for one in ids]
