"""Locking comparisons in one order, so that nobody waits in a circle."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from apps.samples.models import Comparison


def comparisons_lock(comparison_ids: Sequence[int]) -> None:
    """Lock these comparisons in this transaction; on SQLite it holds the only write lock already."""
    if connection.features.has_select_for_update:
        rows = Comparison.objects.filter(pk__in=comparison_ids).select_for_update(no_key=True, of=("self",))
        list(rows.order_by("pk").values_list("pk", flat=True))
