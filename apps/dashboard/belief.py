"""How far the label judge can be trusted: figures of the agreement report in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Sum

from apps.labels.models import Judge, ReviewCount
from apps.labels.selectors import label_judge
from apps.projects.models import Project
from apps.reports.figures import Figure, baselines
from apps.reports.services import agreement_for_page

INLINE = 20_000  # verdicts; beyond it the figures are worked out after the page is there


@dataclass(frozen=True, slots=True)
class Belief:
    """How far the judge `name` can be trusted. `answer`: yes | care | no | unknown."""

    name: str
    answer: str
    judge: dict[str, Any] | None
    ceiling: Figure | None  # how well two people agree


def is_quick(project: Project) -> bool:
    spoken = ReviewCount.objects.filter(judge__project=project).aggregate(n=Sum("n_verdicts"))
    return (spoken["n"] or 0) <= INLINE


def belief(project: Project, *, now: datetime) -> Belief | None:
    """Compare the label judge (else the judge with the most data) with the truth; None if no judge has verdicts."""
    if not Judge.objects.filter(project=project, verdicts__isnull=False).exists():
        return None
    made = agreement_for_page(project=project, now=now)
    ceiling = baselines(made.report).ceiling
    judges: list[dict[str, Any]] = made.report["judges"]
    labels = label_judge(project)
    measured = [judge for judge in judges if judge["n"]]
    if not measured:
        return Belief(labels.name if labels else "", "unknown", None, ceiling)
    chosen = next((judge for judge in measured if labels and judge["name"] == labels.name), None)
    chosen = chosen or max(measured, key=lambda judge: judge["n"])
    return Belief(chosen["name"], _answer(chosen), chosen, ceiling)


def _answer(judge: dict[str, Any]) -> str:
    low = judge["kappa_ci95"][0] if judge["kappa_ci95"] else None
    if judge["cohen_kappa"] is None or low is None:
        return "unknown"
    if low <= 0:
        return "no"
    return "yes" if low >= 0.6 else "care"
