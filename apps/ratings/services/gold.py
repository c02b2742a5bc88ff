"""Saying what the right rating of an answer is: it measures people, and neither it nor its prompt is trained on."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import GoldItem
from apps.labels.review_counts import reviews_settle
from apps.rankings.services import BadGold
from apps.rankings.services.counts import counted
from apps.rankings.services.gold import note_checked
from apps.ratings.selectors import rubric_now
from apps.ratings.services.seats import answers_asked, answers_lock, seats_settle
from apps.samples import exposure
from apps.samples.models import Comparison, Completion
from apps.samples.services import pairs_held_out
from prefloop.rubrics import rubric_stored, values_checked


def rating_gold_mark(
    *, answer: Completion, values: Mapping[str, object], by: User, note: str = "", for_practice: bool = False
) -> GoldItem:
    """Say what the right rating of an answer is by each item of its rubric now, and why; again replaces it.

    `for_practice`: people practise on it, and it is given among real answers to nobody. Raises BadGold and BadRubric.
    """
    rubric = rubric_now(answer)
    if not rubric:
        raise BadGold("the guideline of this project does not ask for ratings")
    if answer.pk not in answers_asked(answer.project, [answer.prompt_id]):
        raise BadGold("nobody is asked to rate this answer: it is of a loop, or an edit, or repeats another's text")
    said = {
        "rubric": rubric_stored(rubric),
        "values": values_checked(rubric, values),
        "note": note_checked(note),
        "by": by,
        "for_practice": for_practice,
    }
    exposure.answers_shown(user_id=by.pk, answer_ids=[answer.pk], where="gold")
    with transaction.atomic():
        answers_lock([answer.pk])
        item, _ = GoldItem.objects.update_or_create(completion=answer, defaults=said)
        _follow(answer)
        _audit(answer, by, "gold.mark", {"values": said["values"], "for_practice": for_practice})
    return item


def rating_gold_unmark(*, answer: Completion, by: User) -> None:
    """Take it back that an answer's right rating is known. Nothing happens to one of which it is not."""
    with transaction.atomic():
        answers_lock([answer.pk])
        if GoldItem.objects.filter(completion=answer).delete()[0]:
            _follow(answer)
            _audit(answer, by, "gold.unmark", {})


def _follow(answer: Completion) -> None:
    """Hold out the pairs of the answer, or hold them out no more, and settle the seats of its prompt."""
    ids = Comparison.objects.filter(prompt=answer.prompt_id).order_by("pk").values_list("pk", flat=True)
    with counted(answer.project_id, list(ids)):
        reviews_settle(pairs_held_out(answer.prompt_id))
    seats_settle(project=answer.project, prompt_ids=[answer.prompt_id])


def _audit(answer: Completion, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"completion:{answer.pk}", project=answer.project, data=data)
