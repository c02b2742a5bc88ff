"""Access to annotation and review. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.db.models import F, FilteredRelation, OuterRef, Q, Subquery
from django.http import Http404

from apps.accounts.models import User
from apps.labels.models import PairFlag
from apps.projects import access
from apps.projects.access import Person
from apps.projects.models import Guideline, Project, Role
from apps.prompts.models import ready
from apps.rankings.models import Assignment, Place
from apps.samples.models import Comparison

_PLACE = ("id", "reached", "recent", "rater", "n_done", "n_blocked")


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


def flag_for_lead(user: Person, slug: str, pk: int) -> PairFlag:
    """A flag of a project in which the person is a lead or above."""
    rows = PairFlag.objects.filter(ready("comparison__"), comparison__project=project_for_adjudication(user, slug))
    flag = rows.select_related("comparison__project").filter(pk=pk).first()
    if flag is None:
        raise Http404("no such flag")
    return flag


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
    """A person's own assignment in a project they still belong to, with their place in its queue."""
    holder = person(user)
    newest = Guideline.objects.filter(project=OuterRef("project")).order_by("-version")
    rows = (
        Assignment.objects.filter(pk=assignment_id, user=holder, project__memberships__user=holder)
        .select_related("project", "user")
        .annotate(
            at=FilteredRelation("project__places", condition=Q(project__places__user=holder)),
            version=Subquery(newest.values("version")[:1]),
            asks_strength=Subquery(newest.values("asks_strength")[:1]),
            **{f"at_{name}": F(f"at__{name}") for name in _PLACE},
        )
    )
    if slug is not None:
        rows = rows.filter(project__slug=slug)
    assignment = rows.first() if holder.is_active else None
    if assignment is None:
        raise Http404("no such assignment")
    read = vars(assignment)
    if read["at_id"] is not None:
        there = {name: read[f"at_{name}"] for name in _PLACE}
        assignment.place = Place(project_id=assignment.project_id, user_id=holder.pk, **there)
    assignment.guideline_now = "" if read["version"] is None else f"v{read['version']}"
    assignment.strength_now = bool(read["asks_strength"])
    return assignment
