"""Access to prompts."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.prompts.models import Prompt, ready


def prompt_for_read(user: User | AnonymousUser, slug: str, pk: int) -> Prompt:
    project = project_for(user, slug, Role.LEAD)
    found = Prompt.objects.filter(ready(), project=project, pk=pk).select_related("prompt_set", "project").first()
    if found is None:
        raise Http404
    return found
