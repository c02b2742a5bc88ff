"""Reading webhooks and their log."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from apps.events.models import Delivery, Webhook
from apps.projects.models import Project


def webhook_list(project: Project) -> QuerySet[Webhook]:
    """Return a project's webhooks with how much of theirs is pending and failed."""
    return (
        Webhook.objects.filter(project=project)
        .annotate(
            n_pending=Count("deliveries", filter=Q(deliveries__state="pending")),
            n_failed=Count("deliveries", filter=Q(deliveries__state="failed")),
        )
        .order_by("id")
    )


def delivery_list(webhook: Webhook) -> QuerySet[Delivery]:
    """Return the log of a webhook, the latest event first; without what the events say."""
    return webhook.deliveries.select_related("event").defer("event__data").order_by("-id")
