"""Access to judges and verdicts."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.judging.models import Alignment
from apps.labels.models import Judge
from apps.projects.access import project_for
from apps.projects.models import Role


def judge_for_read(user: User | AnonymousUser, slug: str, pk: int) -> Judge:
    return _judge(user, slug, pk, Role.LEAD)


def judge_for_write(user: User | AnonymousUser, slug: str, pk: int) -> Judge:
    return _judge(user, slug, pk, Role.ENGINEER)


def alignment_for(user: User | AnonymousUser, slug: str, pk: int, role: Role) -> Alignment:
    """A trial of an aligned version of a judge of this project."""
    project = project_for(user, slug, role)
    rows = Alignment.objects.filter(judge__project=project, pk=pk).select_related(
        "judge__endpoint", "judge__checkpoint", "judge__project", "group", "made", "started_by"
    )
    found = rows.first()
    if found is None:
        raise Http404
    return found


def _judge(user: User | AnonymousUser, slug: str, pk: int, role: Role) -> Judge:
    project = project_for(user, slug, role)
    found = Judge.objects.filter(project=project, pk=pk).select_related("endpoint", "checkpoint", "project").first()
    if found is None:
        raise Http404
    return found
