"""Flags: somebody's remark that a pair needs a lead's look. A flag is no label and ends nobody's work on the pair."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.samples.models import Comparison
from prefloop.records import FLAG_REASONS


def reason_choices() -> list[tuple[str, str]]:
    """Return every reason with its words; computed when needed, so that a new reason needs no migration."""
    return list(FLAG_REASONS.items())


class PairFlag(TimeStamped):
    """A person's flag on a pair. Resolved flags stay."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="flags")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="pair_flags")
    rater = models.CharField(max_length=150)  # the username, or the name an import gave
    reason = models.CharField(max_length=12, choices=reason_choices)
    note = models.TextField(blank=True)
    at = models.DateTimeField(null=True)  # when it was raised (an import keeps the original time)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=150, blank=True)  # a name, like `rater`

    class Meta:
        app_label = "labels"
        constraints = [
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=False) | Q(resolved_by=""), name="pair_flag_resolved_by_with_its_time"
            )
        ]
        indexes = [models.Index(fields=["id"], condition=Q(resolved_at__isnull=True), name="pair_flag_open")]

    def __str__(self) -> str:
        return f"{self.rater} flags {self.comparison_id}: {self.reason}"
