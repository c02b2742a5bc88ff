"""A project's people and their votes as arrays: what the leads' page and its rules are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.db.models import FloatField, Func
from django.db.models.functions import Coalesce

from apps.core.columns import coded, fetch
from apps.labels.columns import ORDER, ORDERS, UNKNOWN_ORDER, current_votes, pairs_of, places
from apps.projects.models import Project
from prefloop.stats.agreement import MISSING
from prefloop.stats.annotators import CANT_JUDGE_CODE, CrewColumns
from prefloop.stats.columns import SKIP
from prefloop.types import CANT_JUDGE, OUTCOME_CODES, OUTCOMES

_SAID = range(CANT_JUDGE_CODE, len(OUTCOMES))


class Epoch(Func):
    """A moment as seconds since 1970."""

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM %(expressions)s)"

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(compiler, connection, template="(julianday(%(expressions)s) - 2440587.5) * 86400.0", **more)


def crew_columns(project: Project) -> CrewColumns:
    """Code every blind vote that counts, with its time and active time; names sorted.

    A pair by each criterion that people voted on it by is an item of its own; gold is of the unnamed criterion.
    """
    pairs = pairs_of(project)
    rows = fetch(
        current_votes(project, None),
        item=(int, "comparison_id"),
        criterion=(str, "criterion"),
        rater=(str, "rater"),
        outcome=(_SAID, coded("choice", OUTCOME_CODES | {CANT_JUDGE: CANT_JUDGE_CODE}, default=SKIP)),
        order=(ORDERS, coded("order", ORDER, default=UNKNOWN_ORDER)),
        at=(float, Epoch(Coalesce("at", "created_at"))),
        seconds=(float, "seconds"),
    )
    names, rater = rows["rater"]
    criteria, criterion = rows["criterion"]  # -1 for the unnamed one
    place, known = places(pairs, rows["item"])
    n = len(criteria) + 1
    item = place * n + criterion + 1
    named = np.tile(np.arange(n) > 0, len(pairs.id))
    kept = known[np.lexsort((rater[known], item[known]))]
    return CrewColumns(
        raters=tuple(names),
        gold=np.where(named, MISSING, np.repeat(pairs.gold, n)),
        length_first=np.repeat(pairs.length_first, n),
        length_second=np.repeat(pairs.length_second, n),
        item=item[kept],
        rater=rater[kept],
        outcome=rows["outcome"][kept],
        swapped=rows["order"][kept],
        at=rows["at"][kept],
        seconds=rows["seconds"][kept],
    )
