"""Rankings: what a person or a judge says of several answers to one prompt at once."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.prompts.models import Prompt


class Ranking(TimeStamped):
    """An N-way ordering of a prompt's completions, ties allowed; `groups` holds completion ids, best first.

    It labels each of its pairs: a person's ranking comes with a Vote on each (`Vote.ranking`) unless they voted on the
    pair directly, a judge's with a Verdict on each, shown in no order. A ranking that was made here is taken back by
    withdrawing its votes. Ratings of two answers by one person are stored as a ranking of the two (`rating`).
    """

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="rankings")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="rankings")
    rater = models.CharField(max_length=150, blank=True)
    judge = models.ForeignKey("judging.Judge", null=True, on_delete=models.PROTECT, related_name="rankings")
    groups = models.JSONField()
    shown = models.JSONField(default=list)  # completion ids in the order in which the person saw them; empty: not known
    key = models.CharField(
        max_length=64, blank=True
    )  # made by the client: the same ranking, sent twice, is stored once
    at = models.DateTimeField(null=True)  # when it was said (an import keeps the original time)
    seconds = models.FloatField(null=True)
    guideline = models.CharField(max_length=40, blank=True)  # the version that was on the screen
    reason = models.TextField(blank=True)
    reasons = models.JSONField(default=list)  # short ones that were chosen, of those that this guideline has
    # where it is of two answers, and follows from ratings of them by one person: the later one
    rating = models.ForeignKey("labels.Rating", null=True, on_delete=models.CASCADE, related_name="rankings")

    class Meta:
        app_label = "rankings"
        constraints = [
            models.CheckConstraint(
                condition=Q(rater="", judge__isnull=False) | (~Q(rater="") & Q(judge__isnull=True)),
                name="ranking_by_a_person_or_a_judge",
            ),
            models.UniqueConstraint(fields=["prompt", "user", "key"], condition=~Q(key=""), name="ranking_key_once"),
        ]

    def __str__(self) -> str:
        return f"ranking of {self.prompt_id}"
