"""Locking in one order, so that nobody waits in a circle: prompts first, then comparisons, each by id; places come last
(apps/rankings/services/counts.py).

Prompts are locked by what follows from single answers: a rating makes comparisons, and so is settled before them.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import QuerySet

from apps.prompts.models import Prompt
from apps.samples.models import Comparison


def prompts_lock(prompts: QuerySet[Prompt]) -> None:
    """Lock these prompts in this transaction, before any comparison."""
    if connection.features.has_select_for_update:
        rows = prompts.order_by("pk").select_for_update(no_key=True, of=("self",))
        list(rows.values_list("pk", flat=True))


def comparisons_lock(comparison_ids: Sequence[int]) -> None:
    """Lock these comparisons in this transaction; on SQLite it holds the only write lock already."""
    if connection.features.has_select_for_update:
        rows = Comparison.objects.filter(pk__in=comparison_ids).select_for_update(no_key=True, of=("self",))
        list(rows.order_by("pk").values_list("pk", flat=True))
