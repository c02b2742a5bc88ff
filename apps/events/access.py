"""Access to webhooks: an owner's matter, since a webhook takes labels out of the project."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.events.models import Delivery, Webhook
from apps.projects.access import project_for
from apps.projects.models import Project, Role


def project_for_webhooks(user: User | AnonymousUser, slug: str) -> Project:
    return project_for(user, slug, Role.OWNER)


def webhook_for(user: User | AnonymousUser, slug: str, pk: int) -> Webhook:
    project = project_for_webhooks(user, slug)
    found = Webhook.objects.filter(project=project, pk=pk).select_related("project", "created_by").first()
    if found is None:
        raise Http404
    return found


def delivery_for(user: User | AnonymousUser, slug: str, pk: int, delivery: int) -> Delivery:
    found = Delivery.objects.filter(webhook=webhook_for(user, slug, pk), pk=delivery).first()
    if found is None:
        raise Http404
    return found
