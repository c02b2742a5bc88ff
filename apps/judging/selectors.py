"""Reads of judges and what they said."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Count, QuerySet

from apps.core.chunks import chunks
from apps.judging.models import Judge, Score
from apps.projects.models import Project
from prefloop.types import PrefloopError


class NoJudge(PrefloopError):
    """The project has no such judge."""


def judge_list(project: Project) -> QuerySet[Judge]:
    """Return the judges in use, newest version of each last."""
    return (
        Judge.objects.filter(project=project, retired_at=None)
        .select_related("endpoint", "checkpoint")
        .annotate(n_verdicts=Count("verdicts"))
        .order_by("name", "version")
    )


def judge_by_name(project: Project, name: str) -> Judge:
    """Return the newest version of the judge of this name; raises NoJudge with the names that there are."""
    found = Judge.objects.filter(project=project, name=name, retired_at=None).order_by("-version").first()
    if found is None:
        names = sorted(set(Judge.objects.filter(project=project, retired_at=None).values_list("name", flat=True)))
        raise NoJudge(f"no judge {name!r} in project {project.slug}; there are: {', '.join(names) or 'none yet'}")
    return found


def scores_of(judge: Judge, completion_ids: Sequence[int]) -> dict[int, float]:
    """Return the judge's mean score of each completion that has one."""
    values: dict[int, list[float]] = {}
    for chunk in chunks(completion_ids, 500):
        rows = Score.objects.filter(judge=judge, completion_id__in=chunk, state="ok", value__isnull=False)
        for completion_id, value in rows.values_list("completion_id", "value"):
            values.setdefault(completion_id, []).append(float(value or 0.0))
    return {completion_id: sum(many) / len(many) for completion_id, many in values.items()}
