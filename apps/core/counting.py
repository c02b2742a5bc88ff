"""Counts of rows that are only ever added, without counting again what was counted before."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count, Max, QuerySet

from apps.core.kept_figures import cache

MARGIN = 1_000  # ids: a transaction that began before the newest row may still add rows below it
KEPT_SECONDS = 3600


def counts_of_added(key: str, rows: QuerySet[Any], by: str, *, settled: bool) -> Counter[Any]:
    """Count rows by a column. What was counted stays in the cache as `key`, and only later rows are counted again.

    `settled`: nothing is under way that makes older rows count later, as an unfinished import does.
    """
    limit, before = cache.get(key) or (0, Counter())
    newest = rows.model._default_manager.aggregate(newest=Max("pk"))["newest"] or 0
    if settled and newest - limit > 2 * MARGIN:
        edge = newest - MARGIN
        before = before + _counts(rows.filter(pk__gt=limit, pk__lte=edge), by)
        limit = edge
        cache.set(key, (limit, before), KEPT_SECONDS)
    return before + _counts(rows.filter(pk__gt=limit), by)


def _counts(rows: QuerySet[Any], by: str) -> Counter[Any]:
    return Counter(dict(rows.order_by().values_list(by).annotate(n=Count("pk")).values_list(by, "n")))
