"""Access to a project's reports: for leads and above, since a report shows others' votes."""

from __future__ import annotations

from apps.projects.access import Person, project_for
from apps.projects.models import Project, Role


def project_for_reports(user: Person, slug: str) -> Project:
    return project_for(user, slug, Role.LEAD)
