"""Who may see and set quotas: an owner sees those of a project, an administrator all of them, and sets them."""

from __future__ import annotations

from django.http import Http404

from apps.accounts.models import User
from apps.projects.access import Person, is_operator, project_for
from apps.projects.models import Project, Role


def project_for_quotas(user: Person, slug: str) -> Project:
    return project_for(user, slug, Role.OWNER)


def operators_only(user: Person) -> None:
    """Let through who runs the installation; Http404 otherwise."""
    if not is_operator(user):
        raise Http404("no such page")


def project_to_limit(user: Person, slug: str) -> Project:
    """Fetch a project whose quotas an administrator sets; Http404 for everybody else."""
    operators_only(user)
    found = Project.objects.filter(slug=slug).first()
    if found is None:
        raise Http404("no such project")
    return found


def person_to_limit(user: Person, pk: int) -> User:
    """Fetch a person whose quotas an administrator sets; Http404 for everybody else."""
    operators_only(user)
    found = User.objects.filter(pk=pk).first()
    if found is None:
        raise Http404("no such person")
    return found
