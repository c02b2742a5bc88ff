"""What Review reads, kept by the transactions that change what it follows from (apps/labels/review_items.py)."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from apps.samples.models import Comparison

TODO, DECIDED, ASIDE = "todo", "decided", "aside"


class ReviewItem(models.Model):
    """One judge's label of one comparison, as Review orders and counts it. It can be made again from the labels."""

    # review_item_once begins with the comparison, review_order with the judge
    judge = models.ForeignKey("judging.Judge", on_delete=models.CASCADE, related_name="review_items", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="review_items", db_index=False)
    # aside: held out, or of two equal answers; nobody reviews it
    state = models.CharField(max_length=8, choices=[(s, s) for s in (TODO, DECIDED, ASIDE)])
    # the worth of a review (apps/labels/worth.py) without what people say
    value = models.FloatField(default=0.0)
    code = models.CharField(max_length=12, default="sample")
    detail = models.JSONField(default=dict)
    outcome = models.CharField(max_length=8, blank=True)  # the judge's, if it has one
    if_contested = models.FloatField(null=True)  # the worth if people contradict it, where that would be the reason
    contested = models.FloatField(null=True)  # the same, where they do
    n_verdicts = models.IntegerField(default=0)
    effect = models.CharField(max_length=10, blank=True)  # of people's decision on it (apps/labels/effect.py)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comparison", "judge"], name="review_item_once")]
        indexes = [
            models.Index("judge", "state", F("value").desc(), "comparison", name="review_order"),
            models.Index(
                "judge", "state", F("contested").desc(), condition=Q(contested__isnull=False), name="review_contested"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.comparison_id}: {self.code}"


class ReviewCount(models.Model):
    """What a judge has labelled, how much of it waits for a review, and what people's decisions on it changed."""

    judge = models.OneToOneField("judging.Judge", on_delete=models.CASCADE, related_name="review_count")
    n_verdicts = models.IntegerField(default=0)
    n_to_review = models.IntegerField(default=0)  # comparisons with a verdict of its that nobody has decided on
    n_decided = models.IntegerField(default=0)  # those that somebody has
    # the counts of apps/labels/effect.py
    n_reviewed = models.IntegerField(default=0)
    n_overridden = models.IntegerField(default=0)
    n_changed = models.IntegerField(default=0)
    n_flipped = models.IntegerField(default=0)
    n_added = models.IntegerField(default=0)
    n_removed = models.IntegerField(default=0)

    class Meta:
        app_label = "judging"

    def __str__(self) -> str:
        return f"{self.judge_id}: {self.n_to_review} to review"
