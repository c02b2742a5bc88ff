"""Flagged pairs, for leads."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.labels.models import PairFlag
from apps.projects.models import Project
from apps.prompts.models import ready


def flags_of(project: Project, *, resolved: bool = False) -> QuerySet[PairFlag]:
    """Return a project's flags: those that wait for a lead, oldest first, or the resolved ones, latest first."""
    rows = PairFlag.objects.filter(ready("comparison__"), comparison__project=project)
    rows = rows.filter(resolved_at__isnull=not resolved).select_related("comparison__prompt")
    return rows.order_by("-resolved_at", "-id") if resolved else rows.order_by("id")
