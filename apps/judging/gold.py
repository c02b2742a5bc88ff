"""Gold pairs for judges: so many of the pairs of a run have a known answer, at random places."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from django.db.models import Exists, OuterRef, QuerySet

from apps.labels.models import Judge, Verdict
from apps.prompts.models import ready
from apps.samples.models import Comparison, comparable
from prefloop.seeds import derive_seed


def n_gold_for(share: int, n: int) -> int:
    """How many gold pairs go with n others, so that they are `share` per cent of all, rounded up."""
    return -(-n * share // (100 - share)) if share else 0


def gold_unasked(judge: Judge) -> QuerySet[Comparison]:
    """The gold pairs of which this judge has given no verdict, without those for practice."""
    asked = Verdict.objects.filter(judge=judge, comparison=OuterRef("pk"))
    rows = Comparison.objects.filter(ready(), comparable(), ~Exists(asked), project=judge.project_id)
    return rows.exclude(gold="").exclude(gold_item__for_practice=True)


def with_gold(*, judge: Judge, share: int, comparison_ids: Sequence[int], seed: int) -> list[int]:
    """Mix gold pairs in among these comparisons: so many, with those that are among them already, that they are
    `share` per cent of all.
    """
    ids = list(comparison_ids)
    if not share:
        return ids
    gold = list(gold_unasked(judge).order_by("pk").values_list("pk", flat=True))
    here = set(gold).intersection(ids)
    random = Random(derive_seed(seed, "gold", judge.pk))
    more = [pk for pk in gold if pk not in here]
    wanted = n_gold_for(share, len(ids) - len(here)) - len(here)
    for pk in random.sample(more, max(0, min(wanted, len(more)))):
        ids.insert(random.randint(0, len(ids)), pk)
    return ids
