"""From a label to the checkpoints trained on it, and from a checkpoint to its labels."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.labels.types import FLAGGED, RATED_ANSWER
from apps.policies.access import checkpoint_for_read
from apps.projects.models import Role
from apps.rankings.access import comparison_for
from apps.samples.exposure import labels_shown
from apps.training.lineage.cards import checkpoint_line
from apps.training.lineage.evidence import frozen_label
from apps.training.lineage.usage import SHOW, labels_behind, usage_of

PAGE = 50


@login_required
@never_cache
@require_GET
def used(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The training sets, runs and checkpoints that contain a comparison."""
    found = comparison_for(person(request), slug, pk, Role.LEAD)
    usage = usage_of(found)
    if usage.uses:
        labels_shown(request, [found.pk])
    context = {"project": found.project, "active": "review", "comparison": found, "usage": usage}
    return render(request, "training/used.html", context)


@login_required
@never_cache
@require_GET
def labels(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The training labels of a checkpoint, as they were frozen, a page at a time."""
    found = checkpoint_for_read(person(request), slug, pk)
    show = request.GET.get("show", "all")
    show = show if show in SHOW else "all"
    line = checkpoint_line(found)
    snapshot = line[-1].snapshot
    context = {
        "project": found.project,
        "active": "policies",
        "checkpoint": found,
        "snapshot": snapshot,
        "before": [row for row in line[:-1] if row.snapshot is not None],
        "show": show,
    }
    if snapshot is not None:
        page = Paginator(labels_behind(snapshot, show=show), PAGE).get_page(request.GET.get("page"))
        labels_shown(request, [item.comparison_id for item in page])
        context |= {"page": page, "rows": [(item, frozen_label(item, item.comparison)) for item in page]}
        context["n_flags"] = sum(n for source, n in snapshot.sources.items() if source.startswith(FLAGGED))
        context["n_rated"] = snapshot.sources.get(RATED_ANSWER, 0)
    return render(request, "training/labels.html", context)
