"""Seats of ratings: one for each rating of an answer that is wanted."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.accounts.models import User
from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.samples.models import Completion

FREE, OPEN, DONE, EXPIRED = "free", "open", "done", "expired"


class RatingSeat(TimeStamped):
    """A rating of an answer that is wanted. Free until somebody takes it; then leased to them until they rate.

    A seat that ends without a rating (its lease runs out, it is skipped) stays as a record, and a new one takes its
    place. Only apps/ratings/services writes seats.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rating_seats", db_index=False)
    # rating_seat_by_answer begins with it
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="rating_seats", db_index=False)
    # rating_seat_by_person begins with it
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="rating_seats", db_index=False
    )
    lease_until = models.DateTimeField(null=True)
    guideline = models.CharField(max_length=40, blank=True)  # the version that went with it when it was last given
    state = models.CharField(max_length=8, default=FREE, choices=[(s, s) for s in (FREE, OPEN, DONE, EXPIRED)])

    guideline_now: str | None = None  # the version in force, where a rating follows (apps/ratings/access.py)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["completion", "user"], condition=Q(state=OPEN), name="rating_seat_open_once_per_person"
            ),
            models.CheckConstraint(
                condition=Q(state=FREE, user__isnull=True)
                | (~Q(state=FREE) & Q(user__isnull=False, lease_until__isnull=False)),
                name="rating_seat_free_is_nobodys",
            ),
        ]
        indexes = [
            models.Index(fields=["completion", "state"], name="rating_seat_by_answer"),
            models.Index(fields=["user", "project", "state", "id"], name="rating_seat_by_person"),
            models.Index(fields=["project", "id"], condition=Q(user__isnull=True), name="rating_seat_free"),
            models.Index(fields=["project", "lease_until"], condition=Q(state=OPEN), name="rating_seat_held"),
        ]

    def __str__(self) -> str:
        return f"seat {self.pk} of answer {self.completion_id}"

    @property
    def holder(self) -> User:
        """Who holds it, or held it; only a free seat is nobody's."""
        if self.user is None:
            raise ValueError(f"nobody holds seat {self.pk}")
        return self.user
