"""Reads about projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from apps.projects.access import Person, projects_for
from apps.projects.models import Guideline, Invitation, Membership, Project, Role
from prefloop.demos import DEMOS, Demo


@dataclass(frozen=True, slots=True)
class ProjectCard:
    project: Project
    role: Role
    n_members: int
    n_prompts: int
    n_comparisons: int


def project_cards(user: Person) -> Sequence[ProjectCard]:
    """Return the user's projects, newest first, with their figures for the start page."""
    mine = {
        m.project_id: Role(m.role) for m in Membership.objects.filter(project__in=projects_for(user), user__pk=user.pk)
    }
    projects = projects_for(user).order_by("-created_at", "-pk")
    # one grouped query a number: counting three relations in one query would multiply their rows
    numbers = {
        relation: dict(Project.objects.filter(pk__in=mine).annotate(n=Count(relation)).values_list("pk", "n"))
        for relation in ("memberships", "prompts", "comparisons")
    }
    return [
        ProjectCard(
            project=project,
            role=mine[project.pk],
            n_members=numbers["memberships"][project.pk],
            n_prompts=numbers["prompts"][project.pk],
            n_comparisons=numbers["comparisons"][project.pk],
        )
        for project in projects
    ]


def members_of(project: Project) -> QuerySet[Membership]:
    return project.memberships.select_related("user").order_by("user__username")


def open_invitations(project: Project, now: datetime) -> QuerySet[Invitation]:
    return project.invitations.filter(used_at__isnull=True, revoked_at__isnull=True, expires_at__gt=now).select_related(
        "created_by"
    )


def guideline_current(project: Project) -> Guideline | None:
    """Return the current version of the guidelines; None before the first."""
    return project.guidelines.order_by("-version").first()


def guideline_name(project: Project) -> str:
    """Name the current version of the guidelines, as votes store it; "" before the first."""
    guideline = guideline_current(project)
    return guideline.name if guideline is not None else ""


def guideline_asks_strength(project: Project, name: str) -> bool:
    """Say whether the version of this name asks how much better the better answer is; "" is no version."""
    asking = project.guidelines.filter(asks_strength=True)
    return bool(name) and name in {guideline.name for guideline in asking.only("version")}


def demos_to_make() -> list[Demo]:
    """Return the demos that this installation has no project of."""
    there = set(Project.objects.filter(slug__in=DEMOS).values_list("slug", flat=True))
    return [demo for demo in DEMOS.values() if demo.world not in there]
