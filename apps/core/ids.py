"""Many ids in one query parameter: SQLite allows no more than some ten thousand parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.db import connection
from django.db.models.expressions import RawSQL


def among(ids: Iterable[int]) -> RawSQL:
    """Return what `pk__in=` takes for these ids, however many they are."""
    if connection.vendor == "postgresql":
        sql = "SELECT value::bigint FROM jsonb_array_elements_text(%s::jsonb) AS one(value)"
    else:
        sql = "SELECT value FROM json_each(%s)"
    return RawSQL(sql, [json.dumps(list(ids))])  # noqa: S611 - numbers, passed as a parameter
