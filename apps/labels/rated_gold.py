"""People's ratings of the answers whose right rating is known, and each person's ratings in numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Count, Q

from apps.labels.gold_models import gold_ratings_of
from apps.labels.models import RATED, GoldItem
from apps.labels.ratings import counting_ratings
from apps.projects.models import Project
from prefloop.rubrics import compared_to_known, rubric_loaded
from prefloop.types import SKIPPED


@dataclass(frozen=True, slots=True)
class RaterCounts:
    """One person's ratings that count. `n_gold`: of answers whose right rating is known; `k_gold` are right by every
    item.
    """

    name: str
    n: int
    n_skipped: int
    n_gold: int
    k_gold: int


def gold_ratings(answer_ids: Collection[int]) -> dict[int, list[tuple[str, bool]]]:
    """Return who rated each of these answers, and whether right by every item; by another rubric it says nothing."""
    known = GoldItem.objects.filter(completion__in=answer_ids).values_list("completion_id", "rubric", "values")
    items = {answer: (rubric_loaded(rubric), values) for answer, rubric, values in known}
    rows = counting_ratings().filter(completion__in=list(items), choice=RATED).order_by("id")
    found: dict[int, list[tuple[str, bool]]] = {}
    for answer, rater, rubric, values in rows.values_list("completion_id", "rater", "rubric", "values"):
        right = compared_to_known(rubric_loaded(rubric), values, *items[answer])
        if right:
            found.setdefault(answer, []).append((rater, all(right.values())))
    return found


def raters_of(project: Project) -> list[RaterCounts]:
    """Count the ratings of each person of a project, by name."""
    answers = gold_ratings_of(project).values_list("completion_id", flat=True)
    said = [one for rows in gold_ratings([pk for pk in answers if pk is not None]).values() for one in rows]
    rows = counting_ratings(project).order_by("rater").values_list("rater")
    counts = rows.annotate(n=Count("pk", filter=Q(choice=RATED)), skipped=Count("pk", filter=Q(choice=SKIPPED)))
    return [
        RaterCounts(
            name=name,
            n=n,
            n_skipped=n_skipped,
            n_gold=sum(rater == name for rater, _ in said),
            k_gold=sum(right for rater, right in said if rater == name),
        )
        for name, n, n_skipped in counts
    ]
