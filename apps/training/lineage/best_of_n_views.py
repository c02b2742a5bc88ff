"""The Best-of-N explorer: a checkpoint's scored answers, and the gain from choosing the best of n of them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.core.line_charts import Point, Series, lines
from apps.core.row_charts import bars
from apps.policies.access import checkpoint_for_read
from apps.samples.exposure import scores_shown
from apps.training.lineage.best_of_n import Step, curve, histogram, is_centred, judges_of, pools_of, scored_runs

PAGE = 10


@login_required
@never_cache
@require_GET
def explorer(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = checkpoint_for_read(person(request), slug, pk)
    runs = scored_runs(found)
    run = _chosen(runs, request.GET.get("run", ""))
    judges = judges_of(run) if run else []
    judge = _chosen(judges, request.GET.get("judge", ""))
    context: dict[str, Any] = {
        "project": found.project,
        "active": "policies",
        "checkpoint": found,
        "runs": runs,
        "run": run,
        "judges": judges,
        "judge": judge,
    }
    if run is not None and judge is not None:
        pools = pools_of(run, judge)
        steps = curve(pools)
        centred = is_centred(judge)
        context |= {"n_prompts": len(pools), "steps": steps, "centred": centred}
        if pools:
            page = Paginator(pools, PAGE).get_page(request.GET.get("page"))
            scores_shown(request, [answer.pk for pool in page for answer, _score in pool.answers])
            bins = histogram(pools, centred=centred)
            context |= {
                "bars_wide": bars(bins, title=_("Scores"), width=420, label_width=130),
                "bars_narrow": bars(bins, title=_("Scores"), width=340, label_width=115),
                "wide": _chart(steps, 640),
                "narrow": _chart(steps, 380),
                "page": page,
            }
    return render(request, "training/best_of_n.html", context)


def _chosen(rows: list[Any], wanted: str) -> Any:
    """The row with that id, else the first; None if there are none."""
    return next((row for row in rows if str(row.pk) == wanted), rows[0] if rows else None)


def _chart(steps: list[Step], width: int) -> SafeString:
    points = tuple(Point(step.n, step.mean, step.low, step.high, label=f"n = {step.n}") for step in steps)
    return lines(
        [Series(_("best of n"), points)],
        title=_("Expected score of the best of n"),
        x_label=_("n, answers sampled to return one"),
        y_label=_("score"),
        x_domain=(0.0, steps[-1].n * 1.02),
        width=width,
        height=300,
        label_width=90,
        x_whole=True,
    )
