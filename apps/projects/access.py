"""Access to projects. Absent and forbidden look the same: 404."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404

from apps.accounts.models import User
from apps.projects.models import MemberGroup, Membership, Project, Role

Person = User | AnonymousUser

_RANK = {role: rank for rank, role in enumerate((Role.ANNOTATOR, Role.LEAD, Role.ENGINEER, Role.OWNER))}


def role_of(user: Person, project: Project) -> Role | None:
    """Give the person's role in the project; None for strangers, anonymous and inactive people."""
    if not user.is_authenticated or not user.is_active:
        return None
    value = Membership.objects.filter(project=project, user_id=user.pk).values_list("role", flat=True).first()
    return None if value is None else Role(value)


def includes(role: Role | None, wanted: Role) -> bool:
    """Say whether `role` may do what `wanted` may: annotator < lead < engineer < owner."""
    return role is not None and _RANK[role] >= _RANK[wanted]


def has_role(user: Person, project: Project, role: Role) -> bool:
    return includes(role_of(user, project), role)


def projects_for(user: Person) -> QuerySet[Project]:
    """Give the projects a person belongs to, whatever the role; one that is being deleted is gone already."""
    if not user.is_authenticated or not user.is_active:
        return Project.objects.none()
    return Project.objects.filter(memberships__user_id=user.pk).exclude(removing="project")


def is_operator(user: Person) -> bool:
    """Say whether this user runs the installation (an admin account), and so may use everything on the machine."""
    return bool(user.is_authenticated and user.is_active and user.is_superuser)


def may_create_project(user: Person) -> bool:
    """Say whether this user may make projects. The creator owns the project, and with it the use of the machine."""
    everyone = settings.PROJECT_CREATORS == "everyone"
    return is_operator(user) or (everyone and user.is_authenticated and user.is_active)


def project_for(user: Person, slug: str, role: Role = Role.ANNOTATOR) -> Project:
    """Fetch a project for someone who has at least `role` in it; Http404 otherwise."""
    project = projects_for(user).filter(slug=slug).first()
    if project is None or not has_role(user, project, role):
        raise Http404("no such project")
    return project


def membership_to_end(user: Person, slug: str, pk: int) -> Membership:
    """Fetch a membership that the person may end: owners anybody's, everybody their own; Http404 otherwise."""
    rows = Membership.objects.filter(project=project_for(user, slug), pk=pk).select_related("project", "user")
    found = rows.first()
    if found is None or not (found.user_id == user.pk or has_role(user, found.project, Role.OWNER)):
        raise Http404("no such member")
    return found


def group_for_lead(user: Person, slug: str, pk: int) -> MemberGroup:
    """Fetch a group of a project in which the person is a lead or above; Http404 otherwise."""
    project = project_for(user, slug, Role.LEAD)
    group = MemberGroup.objects.filter(project=project, pk=pk, deleted_at=None).select_related("project").first()
    if group is None:
        raise Http404("no such group")
    return group
