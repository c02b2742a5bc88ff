"""Leases: which comparison a person looks at."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.samples.models import Comparison


class Assignment(TimeStamped):
    """A comparison leased to one person, with the sides as they will see them.

    It ends by itself when its holder is shown a label of the comparison (apps/samples/exposure.py).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assignments")
    order = models.CharField(max_length=2)  # "01": the canonical first is shown left
    lease_until = models.DateTimeField()
    guideline = models.CharField(  # the version that went with the pair when it was last given
        max_length=40, blank=True
    )
    state = models.CharField(max_length=8, default="open", choices=[(s, s) for s in ("open", "done", "expired")])

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "user"], condition=Q(state="open"), name="assignment_open_once_per_person"
            )
        ]
        indexes = [
            models.Index(fields=["comparison", "state"], name="assignment_by_comparison"),
            models.Index(fields=["user", "state"], name="assignment_by_person"),
        ]

    def __str__(self) -> str:
        return f"assignment {self.pk}"
