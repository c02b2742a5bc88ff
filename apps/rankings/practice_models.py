"""Practice: pairs, or answers to rate, whose right label is known; people are told it after each, before real work."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.samples.models import Comparison, Completion
from prefloop.rubrics import compared_to_known, rubric_loaded
from prefloop.types import OUTCOMES


class PracticeAnswer(TimeStamped):
    """What somebody said in practice of a pair, or of one answer by its rubric. It is no label: the right one was
    known, and told afterwards.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="practice_answers")
    comparison = models.ForeignKey(Comparison, null=True, on_delete=models.CASCADE, related_name="practice_answers")
    completion = models.ForeignKey(Completion, null=True, on_delete=models.CASCADE, related_name="practice_answers")
    attempt = models.PositiveSmallIntegerField(default=1)  # a lead may let somebody try again
    choice = models.CharField(max_length=8, blank=True, choices=[(outcome, outcome) for outcome in OUTCOMES])
    gold = models.CharField(max_length=8, blank=True)  # the right answer at that moment
    # of an answer: the items that were on the screen, what was said, and what was right at that moment
    rubric = models.JSONField(default=list)
    values = models.JSONField(default=dict)
    known = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)

    class Meta:
        app_label = "rankings"
        constraints = [
            models.UniqueConstraint(fields=["user", "comparison", "attempt"], name="practice_answer_once_an_attempt"),
            models.UniqueConstraint(fields=["user", "completion", "attempt"], name="practice_rating_once_an_attempt"),
            models.CheckConstraint(
                condition=Q(comparison__isnull=False, completion__isnull=True)
                | Q(comparison__isnull=True, completion__isnull=False),
                name="practice_answer_on_a_pair_or_an_answer",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} practised on {self.comparison or self.completion}: {self.choice or self.values}"

    @property
    def right_items(self) -> dict[str, bool]:
        """Of an answer, which items of the rubric were rated right."""
        rubric = rubric_loaded(self.rubric)
        return compared_to_known(rubric, self.values, rubric, self.known)

    @property
    def is_right(self) -> bool:
        """Of an answer: whether every item was rated right."""
        return self.choice == self.gold and all(self.right_items.values())
