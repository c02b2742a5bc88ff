"""Access to checkpoints and endpoints."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.access import project_for
from apps.projects.models import Role


def checkpoint_for_read(user: User | AnonymousUser, slug: str, pk: int) -> Checkpoint:
    return _checkpoint(user, slug, pk, Role.LEAD)


def checkpoint_for_write(user: User | AnonymousUser, slug: str, pk: int) -> Checkpoint:
    return _checkpoint(user, slug, pk, Role.ENGINEER)


def _checkpoint(user: User | AnonymousUser, slug: str, pk: int, role: Role) -> Checkpoint:
    project = project_for(user, slug, role)
    found = Checkpoint.objects.filter(project=project, pk=pk).select_related("parent", "project", "approved_by").first()
    if found is None:
        raise Http404
    return found


def endpoint_for_write(user: User | AnonymousUser, slug: str, pk: int) -> Endpoint:
    project = project_for(user, slug, Role.ENGINEER)
    found = Endpoint.objects.filter(project=project, pk=pk).first()
    if found is None:
        raise Http404
    return found
