"""Batches: comparisons that a lead wants answered first, by everybody or by people and groups, perhaps until a day."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import MemberGroup, Project
from apps.samples.models import Comparison

FIRST_LANE = 100  # of the queue; those below are apps/rankings/models.py's


class Batch(TimeStamped):
    """Comparisons whose seats lie in a lane of their own, until the batch is closed.

    Without people and groups it is for everybody.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    name = models.CharField(max_length=120)
    lane = models.PositiveSmallIntegerField()
    people = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    groups = models.ManyToManyField(MemberGroup, related_name="+")  # whoever is in one when a pair is given
    deadline = models.DateTimeField(null=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "rankings"
        constraints = [
            models.UniqueConstraint(
                fields=["project", "lane"], condition=Q(closed_at__isnull=True), name="batch_lane_once"
            )
        ]

    def __str__(self) -> str:
        return self.name


class BatchItem(models.Model):
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="batch_items")

    class Meta:
        app_label = "rankings"
        constraints = [models.UniqueConstraint(fields=["batch", "comparison"], name="batch_item_once")]

    def __str__(self) -> str:
        return f"{self.comparison_id} in {self.batch_id}"
