"""Answering practice pairs, or rating practice answers, and qualifying by them for real work."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.db.models import Q

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import GoldItem
from apps.projects.models import Project
from apps.rankings.models import Place
from apps.rankings.practice_models import PracticeAnswer
from apps.rankings.selectors.practice import Practice, practice_of, practice_order, practice_pairs, practice_ratings
from apps.rankings.services.counts import place_of
from apps.rankings.services.gold import BadGold
from apps.samples import exposure
from apps.samples.models import Comparison, Completion
from prefloop.rubrics import rubric_loaded, values_checked
from prefloop.types import OUTCOMES


def practice_answer(*, comparison: Comparison, user: User, choice: str, seconds: float | None = None) -> PracticeAnswer:
    """Store a person's answer in practice, and qualify them if it was the last and enough are right.

    `choice` is in terms of the screen. The first answer of an attempt stands. From then on the person knows the right
    answer. Raises BadGold.
    """
    project = comparison.project
    outcome = choice
    if choice in {"left", "right"}:
        outcome = "first" if (choice == "left") == (practice_order(comparison, user) == "01") else "second"
    if outcome not in OUTCOMES:
        raise BadGold("choose one of the answers")
    if not practice_pairs(project).filter(pk=comparison.pk).exists():
        raise BadGold("nobody practises on this pair any more")
    exposure.shown(user_id=user.pk, comparison_ids=[comparison.pk], where="practice")
    said = {"choice": outcome, "gold": comparison.gold, "seconds": seconds}
    return _stored(project, user, said, comparison=comparison)


def practice_rate(*, item: GoldItem, user: User, values: Mapping[str, object]) -> PracticeAnswer:
    """Store how a person rates an answer in practice, as `practice_answer` stores what they say of a pair.

    Raises BadGold, and BadRubric for values that do not answer the items.
    """
    answer = item.answer
    if not practice_ratings(answer.project).filter(pk=item.pk).exists():
        raise BadGold("nobody practises on this answer any more")
    said = {
        "rubric": item.rubric,
        "values": values_checked(rubric_loaded(item.rubric), values),
        "known": item.values,
    }
    exposure.answers_shown(user_id=user.pk, answer_ids=[answer.pk], where="practice")
    return _stored(answer.project, user, said, completion=answer)


def _stored(project: Project, user: User, said: Mapping[str, object], **on: Comparison | Completion) -> PracticeAnswer:
    place = place_of(project, user)
    with transaction.atomic():
        made, _ = PracticeAnswer.objects.get_or_create(user=user, attempt=place.attempt, defaults=said, **on)
        now = practice_of(project, user)
        if now.is_over and now.n_right >= now.n_needed:
            _qualify(project, user, now, by=user)
    return made


def practice_let_in(*, project: Project, user: User, by: User) -> None:
    """Let somebody have real pairs whatever they answered in practice."""
    place_of(project, user)
    _qualify(project, user, practice_of(project, user), by=by)


def practice_again(*, project: Project, user: User, by: User) -> None:
    """Let somebody practise again from the start; what they answered before is kept. Nothing happens at the start."""
    place = place_of(project, user)
    here = Q(comparison__project=project) | Q(completion__project=project)
    answers = PracticeAnswer.objects.filter(here, user=user, attempt=place.attempt)
    if not place.is_qualified and not answers.exists():
        return
    with transaction.atomic():
        Place.objects.filter(pk=place.pk, attempt=place.attempt).update(attempt=place.attempt + 1, is_qualified=False)
        _audit(project, user, by, "practice.again", {})


def practice_bound_set(*, project: Project, bound: int | None, by: User) -> None:
    """Set how many per cent of the practice items must be right before somebody gets real work; None: nobody has to.

    Raises BadGold.
    """
    if bound is not None and not 1 <= bound <= 100:
        raise BadGold("the bound is between 1 and 100 %")
    with transaction.atomic():
        if Project.objects.filter(pk=project.pk).update(practice_bound=bound):
            project.practice_bound = bound
        audit(actor=by, verb="practice.bound", target=f"project:{project.slug}", project=project, data={"bound": bound})


def _qualify(project: Project, user: User, practice: Practice, *, by: User) -> None:
    if Place.objects.filter(project=project, user=user, is_qualified=False).update(is_qualified=True):
        said: dict[str, object] = {"n_right": practice.n_right, "n": practice.n, "attempt": practice.attempt}
        _audit(project, user, by, "practice.qualify", said)


def _audit(project: Project, user: User, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"user:{user.pk}", project=project, data=data)
