"""Reads of loops."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet

from apps.projects.models import Project
from apps.training.models import Loop, Metric, Round

ROW_KEYS = (
    "round",
    "n_samples",
    "n_pairs",
    "n_overrides",
    "loss",
    "gold_mean",
    "win_rate_vs_initial",
    "win_rate_ci95",
    "kl",
    "mean_length",
    "seconds",
    "checkpoint",
)


def loop_list(project: Project) -> QuerySet[Loop]:
    return (
        Loop.objects.filter(project=project)
        .select_related("initial", "judge", "started_by")
        .prefetch_related(
            Prefetch("rounds", queryset=Round.objects.order_by("index").select_related("output", "group"))
        )
        .order_by("-id")
    )


def loop_rows(loop: Loop) -> list[dict[str, Any]]:
    """Return the rows of `run_recipe --json`: one a round that is done, round 0 the starting policy."""
    return [round_row(round_) for round_ in loop.rounds.filter(stage="done").select_related("output").order_by("index")]


def round_row(round_: Round) -> dict[str, Any]:
    result = dict.fromkeys(ROW_KEYS, None) | {key: round_.result.get(key) for key in ROW_KEYS}
    result |= {key: value for key, value in round_.result.items() if key not in ROW_KEYS}
    result["round"] = round_.index
    result["checkpoint"] = round_.output.name if round_.output else None
    if round_.started_at and round_.ended_at:
        result["seconds"] = round((round_.ended_at - round_.started_at).total_seconds(), 1)
    return result


def curves(loop: Loop, *, since: int = 0) -> dict[str, Any]:
    """Return the loop's metrics after `since` (a metric's id) as points by name: {"last", "points"}."""
    rows = (
        Metric.objects.filter(run__round__loop=loop, pk__gt=since)
        .exclude(run__kind="reward-model", run__round__index=0)
        .order_by("run__round__index", "step")
        .values_list("pk", "run__round__index", "step", "values")
    )
    points: list[dict[str, Any]] = []
    last = since
    for pk, index, step, values in rows:
        last = max(last, pk)
        points.append({"round": index, "step": step, **values})
    return {"last": last, "points": points}
