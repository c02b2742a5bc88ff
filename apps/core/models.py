"""Models that every app uses: time stamps, and the append-only audit log."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class TimeStamped(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class AuditEvent(TimeStamped):
    """An entry of the audit log: who did what to which object (roles, keys, exports, deletions). Only ever appended."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    verb = models.CharField(max_length=80)
    target = models.CharField(max_length=200)
    project_slug = models.CharField(max_length=64, blank=True, db_index=True)
    data = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"
