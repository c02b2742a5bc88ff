"""Access to judges and verdicts."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.labels.models import Judge
from apps.projects.access import project_for
from apps.projects.models import Role


def judge_for_read(user: User | AnonymousUser, slug: str, pk: int) -> Judge:
    return _judge(user, slug, pk, Role.LEAD)


def judge_for_write(user: User | AnonymousUser, slug: str, pk: int) -> Judge:
    return _judge(user, slug, pk, Role.ENGINEER)


def _judge(user: User | AnonymousUser, slug: str, pk: int, role: Role) -> Judge:
    project = project_for(user, slug, role)
    found = Judge.objects.filter(project=project, pk=pk).select_related("endpoint", "checkpoint", "project").first()
    if found is None:
        raise Http404
    return found
