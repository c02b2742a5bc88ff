"""Deleting rows with everything that belongs to them, in a statement a table.

What belongs to a row is read from the models: what points at it by a foreign key that cascades, and what that owns in
turn. Django's own `delete()` loads every row, and refuses where a protected row goes as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Q

from apps.core.chunks import chunks
from apps.training.models import SnapshotItem

AT_ONCE = 500
# they protect what they are about from being deleted by accident, and go with it here
_OWNED = {(SnapshotItem, "comparison")}


@dataclass(frozen=True, slots=True)
class Below:
    """A model whose rows belong to others: the paths from it to those, and how far away it is at most."""

    model: type[models.Model]
    paths: tuple[str, ...]
    depth: int


def models_below(root: type[models.Model]) -> list[Below]:
    """List the root and every model whose rows belong to rows of it, the farthest first."""
    found: dict[type[models.Model], Below] = {root: Below(root, ("pk",), 0)}
    everything = apps.get_models(include_auto_created=True)
    changed = True
    while changed:
        changed = False
        for model in everything:
            if model is root:
                continue
            owners = [(key, found[key.related_model]) for key in _owning(model) if key.related_model in found]
            owners = [(key, owner) for key, owner in owners if owner.model is not model]
            if not owners:
                continue
            paths = tuple(
                key.name if owner.model is root else f"{key.name}__{min(owner.paths, key=len)}" for key, owner in owners
            )
            if any(owner.model is root and not key.null for key, owner in owners):  # then nothing else has to be asked
                paths = tuple(key.name for key, owner in owners if owner.model is root)
            below = Below(model, paths, 1 + max(owner.depth for _key, owner in owners))
            if found.get(model) != below:
                found[model] = below
                changed = True
    return sorted(found.values(), key=lambda below: (-below.depth, below.model._meta.label))


def _owning(model: type[models.Model]) -> list[Any]:
    keys = [field for field in model._meta.get_fields() if isinstance(field, models.ForeignKey)]
    return [key for key in keys if key.remote_field.on_delete is models.CASCADE or (model, key.name) in _OWNED]


def rows_delete(root: type[models.Model], keys: Sequence[int]) -> dict[str, int]:
    """Delete these rows and all that belongs to them, in one transaction; return how many of which model."""
    counts: dict[str, int] = {}
    levels = models_below(root)
    with transaction.atomic():
        for some in chunks(list(keys), AT_ONCE):
            for below in levels:
                theirs = Q()
                for path in below.paths:
                    theirs |= Q(**{f"{path}__in": some})
                # foreign keys are checked at the end of the transaction: rows of a table may point at each other
                rows = below.model._base_manager.filter(pk__in=below.model._base_manager.filter(theirs).values("pk"))
                n = rows._raw_delete(rows.db)
                if n:
                    counts[below.model._meta.label] = counts.get(below.model._meta.label, 0) + n
    return counts
