"""Flags: somebody's remark that a pair, or an answer to rate, needs a lead's look. A flag is no label and ends nobody's
work on it.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion
from prefloop.records import FLAG_REASONS


def reason_choices() -> list[tuple[str, str]]:
    """Return every reason with its words; computed when needed, so that a new reason needs no migration."""
    return list(FLAG_REASONS.items())


class PairFlag(TimeStamped):
    """A person's flag on a pair, or on one answer where answers are rated by themselves. Resolved flags stay."""

    comparison = models.ForeignKey(Comparison, null=True, on_delete=models.CASCADE, related_name="flags")
    completion = models.ForeignKey(Completion, null=True, on_delete=models.CASCADE, related_name="flags")
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
            ),
            models.CheckConstraint(
                condition=Q(comparison__isnull=False, completion__isnull=True)
                | Q(comparison__isnull=True, completion__isnull=False),
                name="pair_flag_of_a_pair_or_an_answer",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(resolved_at__isnull=True), name="pair_flag_open")]

    def __str__(self) -> str:
        return f"{self.rater} flags {self.target}: {self.reason}"

    @property
    def target(self) -> str:
        """What it is on, as the audit log names it."""
        return f"completion:{self.completion_id}" if self.comparison_id is None else f"comparison:{self.comparison_id}"

    @property
    def project(self) -> Project:
        """The project of what it is on; costs a query where that is not loaded."""
        of = self.comparison or self.completion
        if of is None:
            raise AssertionError("a flag is on a pair or on an answer")
        return of.project
