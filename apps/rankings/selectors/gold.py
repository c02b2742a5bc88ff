"""Gold pairs and answers, and how people and judges answered them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.labels.gold_models import gold_ratings_of
from apps.labels.models import GoldItem
from apps.labels.rated_gold import gold_ratings
from apps.labels.selectors import counting_votes, labels_by_judge
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison, Completion
from prefloop.rubrics import Item, rubric_loaded
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


@dataclass(frozen=True, slots=True)
class GoldRated:
    """An answer whose right rating is known, and how many of people's ratings of it are right by every item."""

    item: GoldItem
    answer: Completion
    items: list[tuple[Item, int]]  # of the rubric, each with its right value
    n_ratings: int
    n_right: int


def gold_rated(project: Project) -> QuerySet[GoldItem]:
    """Return the answers of a project whose right rating is known, the latest first."""
    rows = gold_ratings_of(project).filter(ready("completion__prompt__")).select_related("completion__prompt", "by")
    return rows.defer("completion__token_ids").order_by("-completion")


def gold_rated_answers(rows: Iterable[GoldItem]) -> list[GoldRated]:
    """Count the ratings of a page of these answers."""
    found = list(rows)
    said = gold_ratings([row.answer.pk for row in found])
    return [
        GoldRated(
            item=row,
            answer=row.answer,
            items=[(item, row.values[item.name]) for item in rubric_loaded(row.rubric)],
            n_ratings=len(said.get(row.answer.pk, ())),
            n_right=sum(right for _, right in said.get(row.answer.pk, ())),
        )
        for row in found
    ]


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
