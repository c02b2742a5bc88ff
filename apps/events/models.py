"""Events that are told to the outside, the webhooks that hear of them, and what became of each delivery."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project


class Event(TimeStamped):
    """The outbox: a row is written in the transaction of what it tells, and spread to who hears of it soon after."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=40)
    data = models.JSONField(default=dict)
    spread_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["id"], condition=Q(spread_at__isnull=True), name="event_to_spread")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Notification(TimeStamped):
    """An event that one person is told of, on the page and, if they wish, by mail."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications", db_index=False
    )
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="notifications")
    read_at = models.DateTimeField(null=True)
    mail = models.CharField(max_length=6, blank=True, choices=[("due", "due"), ("sent", "sent"), ("failed", "failed")])
    mail_attempts = models.PositiveSmallIntegerField(default=0)
    mail_after = models.DateTimeField(null=True)  # after a failure it is not sent before

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "event"], name="notification_once")]
        indexes = [
            models.Index(fields=["user"], condition=Q(read_at__isnull=True), name="notification_unread"),
            models.Index(fields=["id"], condition=Q(mail="due"), name="notification_mail_due"),
        ]

    def __str__(self) -> str:
        return f"event {self.event_id} for {self.user_id}"


class Webhook(TimeStamped):
    """An address that is told of events. The secret signs each request; it is shown once."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=500)
    kinds = models.JSONField(default=list)
    sealed_secret = models.TextField()
    active = models.BooleanField(default=True)
    n_failures = models.PositiveIntegerField(default=0)  # in a row
    waits_until = models.DateTimeField(null=True)  # after a failure nothing is sent before
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return self.url


class Delivery(TimeStamped):
    """One event for one webhook: at least once, in the order of the events."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(
        max_length=8, default="pending", choices=[("pending", "pending"), ("sent", "sent"), ("failed", "failed")]
    )
    attempts = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)  # of the last reply
    said = models.CharField(max_length=300, blank=True)  # why the last attempt failed

    class Meta:
        constraints = [models.UniqueConstraint(fields=["webhook", "event"], name="delivery_once")]
        indexes = [
            models.Index(fields=["webhook", "id"], name="delivery_log"),
            models.Index(fields=["webhook", "id"], condition=Q(state="pending"), name="delivery_pending"),
        ]

    def __str__(self) -> str:
        return f"event {self.event_id} to {self.webhook_id}: {self.state}"
