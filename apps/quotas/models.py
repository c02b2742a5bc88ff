"""Limits that somebody set, and what was used in a month."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project


class Quota(TimeStamped):
    """The limit of one kind (apps/quotas/kinds.py) that an administrator gave a project or a person."""

    kind = models.CharField(max_length=20)
    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="quotas")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="quotas")
    amount = models.DecimalField(max_digits=18, decimal_places=4)  # in the kind's unit

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "kind"], name="quota_of_project_once"),
            models.UniqueConstraint(fields=["person", "kind"], name="quota_of_person_once"),
            models.CheckConstraint(
                condition=Q(project__isnull=True, person__isnull=False) | Q(project__isnull=False, person__isnull=True),
                name="quota_of_one",
            ),
            models.CheckConstraint(condition=Q(amount__gte=0), name="quota_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.amount}"


class Used(models.Model):
    """What a person used of a monthly quota in a project; no person: what nobody in particular started.

    Changed by UPDATE in the transaction of what it counts, and never read to be written back.
    """

    kind = models.CharField(max_length=20)
    month = models.DateField()  # its first day, UTC
    # the unique constraint begins with it
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="used", db_index=False)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    amount = models.BigIntegerField(default=0)  # in parts of the kind's unit

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "kind", "month", "person"], name="used_once"),
            models.UniqueConstraint(
                fields=["project", "kind", "month"], condition=Q(person__isnull=True), name="used_by_nobody_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.month:%Y-%m}: {self.amount}"
