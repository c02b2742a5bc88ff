"""Access to sampling runs and completions. Model names are for leads and above."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.samples.models import SamplingRun


def sampling_run_for_read(user: User | AnonymousUser, slug: str, pk: int) -> SamplingRun:
    return _sampling_run(user, slug, pk, Role.LEAD)


def sampling_run_for_write(user: User | AnonymousUser, slug: str, pk: int) -> SamplingRun:
    return _sampling_run(user, slug, pk, Role.ENGINEER)


def _sampling_run(user: User | AnonymousUser, slug: str, pk: int, role: Role) -> SamplingRun:
    project = project_for(user, slug, role)
    found = (
        SamplingRun.objects.filter(project=project, pk=pk)
        .select_related("checkpoint", "endpoint", "group", "project")
        .first()
    )
    if found is None:
        raise Http404
    return found
