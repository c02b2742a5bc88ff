"""Access to a project's reports: for leads and above, since a report shows others' votes."""

from __future__ import annotations

from django.http import Http404

from apps.labels.models import Exclusion
from apps.projects.access import Person, project_for
from apps.projects.models import Project, Role
from apps.reports.models import Study


def exclusion_for_write(user: Person, slug: str, pk: int) -> Exclusion:
    """An exclusion of a project in which the person is a lead."""
    project = project_for_reports(user, slug)
    found = Exclusion.objects.filter(project=project, pk=pk).select_related("project").first()
    if found is None:
        raise Http404("no such exclusion")
    return found


def project_for_reports(user: Person, slug: str) -> Project:
    return project_for(user, slug, Role.LEAD)


def project_for_studies(user: Person, slug: str) -> Project:
    """A project in which the person may start loops, and so studies."""
    return project_for(user, slug, Role.ENGINEER)


def study_for_write(user: Person, slug: str, name: str) -> Study:
    """A started study of a project in which the person may start loops."""
    project = project_for_studies(user, slug)
    found = Study.objects.filter(project=project, name=name).select_related("project").first()
    if found is None:
        raise Http404("the study has not been started")
    return found
