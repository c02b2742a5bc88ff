"""Reads about projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Prefetch, QuerySet

from apps.accounts.models import User
from apps.projects.access import Person, projects_for
from apps.projects.models import Guideline, Invitation, MemberGroup, Membership, Project, Role
from prefloop.demos import DEMOS, Demo
from prefloop.rubrics import Item
from prefloop.tasks import PAIR, Task
from prefloop.types import PrefloopError


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


def groups_of(project: Project) -> QuerySet[MemberGroup]:
    """List the groups of its members that there are, with who is in them."""
    members = Prefetch("members", User.objects.order_by("username"))
    return project.groups.filter(deleted_at=None).select_related("by").prefetch_related(members).order_by("name")


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


@dataclass(frozen=True, slots=True)
class Asks:
    """What a version of the guidelines asks beside the answer: how much better, short reasons to choose from, and marks
    in the answers.
    """

    strength: bool = False
    reasons: tuple[str, ...] = ()
    marks: bool = False


def guideline_asks(project: Project, name: str) -> Asks:
    """Say what the version of this name asks beside the answer; "" is no version, and asks nothing more."""
    rows = project.guidelines.only("version", "asks_strength", "reasons", "asks_marks") if name else ()
    found = next((row for row in rows if row.name == name), None)
    return Asks() if found is None else Asks(found.asks_strength, tuple(found.reasons), found.asks_marks)


def criteria_of(project: Project) -> list[str]:
    """Name every named criterion that the project has labels by: first those that people are asked by now."""
    return [*project.criteria, *sorted(set(project.known_criteria) - set(project.criteria))]


class NoSuchCriterion(PrefloopError):
    """The project has no criterion of this name."""


def criterion_named(project: Project, name: str) -> str:
    """Return a criterion of the project by its name; "" is the unnamed one. Raises NoSuchCriterion."""
    names = criteria_of(project)
    if name and name not in names:
        known = f"it has {', '.join(names)}" if names else "it has no named ones"
        raise NoSuchCriterion(f"project {project.slug} has no criterion {name!r}; {known}")
    return name


def questions_of(project: Project) -> dict[str, str]:
    """What people are asked by each named criterion, or were: by the newest version of the guidelines that names it."""
    rows = project.guidelines.order_by("version").only("version", "criteria")
    return {one.name: one.question for guideline in rows for one in guideline.asked}


def task_of(project: Project, name: str) -> Task:
    """Return the task of the guideline's version of this name; without a version, pairs are compared."""
    found = next((row for row in project.guidelines.only("version", "task") if row.name == name), None)
    return PAIR if found is None else found.declared


def rubric_of(project: Project, name: str) -> tuple[Item, ...]:
    """Return the rubric of the guideline's version of this name; empty where it has none."""
    found = next((row for row in project.guidelines.only("version", "rubric") if row.name == name), None)
    return () if found is None else found.rubric_items


def demos_to_make() -> list[Demo]:
    """Return the demos that this installation has no project of."""
    there = set(Project.objects.filter(slug__in=DEMOS).values_list("slug", flat=True))
    return [demo for demo in DEMOS.values() if demo.world not in there]
