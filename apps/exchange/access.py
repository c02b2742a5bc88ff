"""Access to a project's data. Leads may look; importing and exporting needs an engineer."""

from __future__ import annotations

from django.http import Http404

from apps.exchange.models import Upload
from apps.projects.access import Person, has_role, project_for
from apps.projects.models import Project, Role


def project_for_data(user: Person, slug: str) -> Project:
    return project_for(user, slug, Role.LEAD)


def project_for_exchange(user: Person, slug: str) -> Project:
    return project_for(user, slug, Role.ENGINEER)


def may_exchange(user: Person, project: Project) -> bool:
    return has_role(user, project, Role.ENGINEER)


def upload_for(user: Person, slug: str, token: str) -> Upload:
    project = project_for_exchange(user, slug)
    found = Upload.objects.filter(project=project, token=token).select_related("project", "job", "batch").first()
    if found is None:
        raise Http404("no such upload")
    return found
