"""Flagged pairs and answers, for leads."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from apps.labels.models import PairFlag
from apps.projects.models import Project
from apps.prompts.models import ready


def all_flags_of(project: Project) -> QuerySet[PairFlag]:
    """Return every flag on a pair or an answer of the project."""
    of_pairs = Q(ready("comparison__"), comparison__project=project)
    return PairFlag.objects.filter(of_pairs | Q(ready("completion__"), completion__project=project))


def flags_of(project: Project, *, resolved: bool = False) -> QuerySet[PairFlag]:
    """Return a project's flags: those that wait for a lead, oldest first, or the resolved ones, latest first."""
    rows = all_flags_of(project).filter(resolved_at__isnull=not resolved)
    rows = rows.select_related("comparison__prompt", "completion__prompt").defer("completion__token_ids")
    return rows.order_by("-resolved_at", "-id") if resolved else rows.order_by("id")
