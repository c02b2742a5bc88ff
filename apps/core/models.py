"""Models that every app uses: time stamps, and the audit log."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class TimeStamped(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class AuditEvent(TimeStamped):
    """An entry of the audit log: who did what to which object, when and from where.

    The database refuses to change or delete one (triggers, `migrations/0003`). `position` and `seal` are filled once,
    soon after (`apps/core/audit_chain.py`): they chain each entry to the one before.
    """

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    verb = models.CharField(max_length=80)
    target = models.CharField(max_length=200)
    project_slug = models.CharField(max_length=64, blank=True, db_index=True)
    data = models.JSONField(default=dict)
    address = models.CharField(max_length=45, blank=True, default="")
    origin = models.CharField(max_length=60, blank=True, default="")  # page, token 1a2b3c4d, command NAME, job 7
    position = models.BigIntegerField(null=True, unique=True)  # in the chain, from 1 on without a gap
    seal = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(position__isnull=True), name="audit_to_seal"),
            models.Index(fields=["actor", "id"], name="audit_of_person"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"
