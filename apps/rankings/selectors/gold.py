"""Gold pairs, and how people and judges answered them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.labels.models import GoldItem
from apps.labels.selectors import counting_votes, labels_by_judge
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison
from prefloop.types import OUTCOMES


@dataclass(frozen=True, slots=True)
class GoldAnswers:
    """A gold pair with its note, and how many people and judges gave its answer."""

    comparison: Comparison
    item: GoldItem | None
    n_votes: int
    n_right: int
    n_verdicts: int
    n_verdicts_right: int


def gold_of(project: Project) -> QuerySet[Comparison]:
    """Return the gold pairs of a project, the latest first."""
    rows = Comparison.objects.filter(ready(), project=project).exclude(gold="")
    return rows.select_related("prompt", "gold_item__by").order_by("-pk")


def gold_answers(comparisons: Iterable[Comparison]) -> list[GoldAnswers]:
    """Count the answers to a page of gold pairs."""
    rows = list(comparisons)
    keys = [row.pk for row in rows]
    said = counting_votes().filter(comparison__in=keys, choice__in=OUTCOMES).values_list("comparison_id", "choice")
    votes = Counter(said)
    judges = labels_by_judge(keys)
    found = []
    for row in rows:
        verdicts = [label.outcome for label in judges.get(row.pk, {}).values() if label.outcome is not None]
        found.append(
            GoldAnswers(
                comparison=row,
                item=getattr(row, "gold_item", None),
                n_votes=sum(votes[row.pk, outcome] for outcome in OUTCOMES),
                n_right=votes[row.pk, row.gold],
                n_verdicts=len(verdicts),
                n_verdicts_right=verdicts.count(row.gold),  # type: ignore[arg-type] # an outcome
            )
        )
    return found
