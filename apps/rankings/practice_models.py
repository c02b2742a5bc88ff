"""Practice: pairs with a known answer that people answer, and are told the right answer of, before real pairs."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.samples.models import Comparison
from prefloop.types import OUTCOMES


class PracticeAnswer(TimeStamped):
    """What somebody answered in practice. It is no label: the right answer was known, and told afterwards."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="practice_answers")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="practice_answers")
    attempt = models.PositiveSmallIntegerField(default=1)  # a lead may let somebody try again
    choice = models.CharField(max_length=8, choices=[(outcome, outcome) for outcome in OUTCOMES])
    gold = models.CharField(max_length=8)  # the right answer at that moment
    seconds = models.FloatField(null=True)

    class Meta:
        app_label = "rankings"
        constraints = [
            models.UniqueConstraint(fields=["user", "comparison", "attempt"], name="practice_answer_once_an_attempt")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} practised on {self.comparison_id}: {self.choice}"

    @property
    def is_right(self) -> bool:
        return self.choice == self.gold
