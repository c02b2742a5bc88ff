"""Deriving labels, and what Review reads of them, again: after new verdicts or the choice of another label judge."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.labels.exclusions import EXCLUSION_CHANGED
from apps.labels.review_counts import reviews_refresh
from apps.labels.services import preferences_derive
from apps.projects.models import Project
from apps.samples.models import Comparison


@handler("labels.derive", queue="cpu")
def derive(ctx: JobContext) -> dict[str, Any]:
    """Derive the labels of `comparison_ids`, or of the whole project, and their rows in Review. Repeating it changes
    nothing.
    """
    project = Project.objects.get(pk=ctx.project_id or 0)
    only = ctx.payload.get("comparison_ids")  # those of somebody who is excluded, or is no more
    everything = Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True)
    ids: list[int] = list(everything) if only is None else only
    n_changed = n_done = 0
    for part in chunks(ids, 1000):
        ctx.check()
        n_changed += preferences_derive(project=project, comparison_ids=list(part), now=timezone.now())
        reviews_refresh(part)
        if only is not None:
            EXCLUSION_CHANGED.tell(project, part)
        n_done += len(part)
        ctx.progress(n_done, len(ids), "labels")
    return {"n_changed": n_changed}


@handler("labels.review", queue="cpu")
def review(ctx: JobContext) -> dict[str, Any]:
    """Bring what Review reads of a whole project to what the labels say. Repeating it changes nothing."""
    ids = list(Comparison.objects.filter(project=ctx.project_id or 0).order_by("id").values_list("id", flat=True))
    n_done = 0
    for part in chunks(ids, 1000):
        ctx.check()
        reviews_refresh(part)
        n_done += len(part)
        ctx.progress(n_done, len(ids), "comparisons")
    return {"n": len(ids)}
