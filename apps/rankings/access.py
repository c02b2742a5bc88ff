"""Access to annotation and review. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.http import Http404

from apps.accounts.models import User
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Project, Role
from apps.prompts.models import ready
from apps.rankings.models import Assignment
from apps.samples.models import Comparison


def person(user: Person) -> User:
    """The signed-in user; 404 for anybody else, though every page here asks for a sign-in first."""
    if not isinstance(user, User):
        raise Http404("no such page")
    return user


def project_for_annotate(user: Person, slug: str) -> Project:
    return access.project_for(user, slug, Role.ANNOTATOR)


def project_for_review(user: Person, slug: str) -> Project:
    """The project for leads and above; also for annotators if the project lets them correct judges."""
    project = access.project_for(user, slug, Role.ANNOTATOR)
    if not may_review(user, project):
        raise Http404("no such page")
    return project


def project_for_adjudication(user: Person, slug: str) -> Project:
    """The project for leads and above, who see other people's votes and decide where they split."""
    return access.project_for(user, slug, Role.LEAD)


def comparison_for_adjudication(user: Person, slug: str, comparison_id: int) -> Comparison:
    return comparison_for(user, slug, comparison_id, Role.LEAD)


def may_review(user: Person, project: Project) -> bool:
    least = Role.ANNOTATOR if project.annotators_may_override else Role.LEAD
    return access.has_role(user, project, least)


def may_see_people(user: Person, project: Project) -> bool:
    """Whether other people's votes are shown: only to leads and above, since an annotator's own votes must stay
    blind.
    """
    return access.has_role(user, project, Role.LEAD)


def comparison_for(user: Person, slug: str, comparison_id: int, role: Role = Role.ANNOTATOR) -> Comparison:
    """A comparison of a project in which the person has at least `role`."""
    return _comparison(access.project_for(user, slug, role), comparison_id)


def comparison_for_review(user: Person, slug: str, comparison_id: int) -> Comparison:
    return _comparison(project_for_review(user, slug), comparison_id)


def _comparison(project: Project, comparison_id: int) -> Comparison:
    rows = Comparison.objects.filter(ready(), project=project).select_related("project", "prompt", "first", "second")
    comparison = rows.defer("first__token_ids", "second__token_ids").filter(pk=comparison_id).first()
    if comparison is None:
        raise Http404("no such comparison")
    return comparison


def assignment_for_write(user: Person, assignment_id: int, slug: str | None = None) -> Assignment:
    """A person's own assignment in a project they still belong to."""
    rows = Assignment.objects.filter(pk=assignment_id, user=person(user)).select_related("project", "user")
    if slug is not None:
        rows = rows.filter(project__slug=slug)
    assignment = rows.first()
    if assignment is None or not access.has_role(user, assignment.project, Role.ANNOTATOR):
        raise Http404("no such assignment")
    return assignment
