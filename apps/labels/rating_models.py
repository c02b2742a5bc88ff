"""Ratings: what a person says of one answer by itself, by each item of a rubric."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.samples.models import Completion

RATED = "rated"
RATING_CHOICES = (RATED, "skip", "cant_judge", "withdrawn")


class Rating(TimeStamped):
    """A blind rating of one answer; only ever appended. What a person says of an answer is their last; `withdrawn`
    undoes it.

    `rubric` holds the items that were on the screen (prefloop/rubrics.py, `rubric_stored`), `values` a number for each
    by its name: 1 to 5, or 1 (yes) and 0 (no). Two ratings of one person compare their answers: see Ranking.rating.
    """

    # rating_latest begins with it
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="ratings", db_index=False)
    seat = models.ForeignKey("ratings.RatingSeat", null=True, on_delete=models.SET_NULL, related_name="ratings")
    # rating_of_person begins with it
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="ratings", db_index=False
    )
    rater = models.CharField(max_length=150)  # the username, or the name an import gave
    choice = models.CharField(max_length=10, choices=[(said, said.replace("_", " ")) for said in RATING_CHOICES])
    rubric = models.JSONField(default=list)
    values = models.JSONField(default=dict)
    total = models.FloatField(null=True)  # the weighted mean of the values, from 0 to 1
    key = models.CharField(max_length=64, blank=True)  # made by the client: the same rating, sent twice, is stored once
    at = models.DateTimeField(null=True)  # when it was said (an import keeps the original time)
    seconds = models.FloatField(null=True)
    guideline = models.CharField(max_length=40, blank=True)  # the version that was on the screen
    reason = models.TextField(blank=True)
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["completion", "rater"],
                condition=Q(supersedes__isnull=True),
                name="rating_first_once_per_rater",
            ),
            models.UniqueConstraint(fields=["user", "key"], condition=~Q(key=""), name="rating_key_once"),
            models.CheckConstraint(
                condition=Q(choice=RATED, total__gte=0, total__lte=1) | (~Q(choice=RATED) & Q(total__isnull=True)),
                name="rating_total_iff_rated",
            ),
        ]
        indexes = [
            models.Index(fields=["completion", "rater", "id"], name="rating_latest"),
            models.Index(fields=["user", "id"], condition=Q(user__isnull=False), name="rating_of_person"),
        ]

    def __str__(self) -> str:
        return f"{self.rater} on answer {self.completion_id}: {self.choice}"
