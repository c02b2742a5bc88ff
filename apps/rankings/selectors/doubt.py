"""Which of a judge's labels are likely wrong, estimated from people's decisions about its other labels."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models.functions import Length

from apps.core.chunks import chunks
from apps.labels.models import Judge, Override
from apps.labels.selectors import CHUNK, labels_beside, labels_by_judge, standing_decisions
from apps.samples.models import Comparison
from prefloop.judging.doubt import LabelTraits, chance_wrong

LEAST_DECISIONS = 8  # under which there is nothing to learn from


def likely_wrong(comparison_ids: Sequence[int], judge: Judge) -> dict[int, float]:
    """Return the probability that people would correct the judge's label, for the comparisons that it labelled.

    Learned from all current decisions about this judge; {} if there are fewer than `LEAST_DECISIONS`.
    """
    decisions = dict(
        standing_decisions(None).filter(judge=judge).order_by("at", "id").values_list("comparison_id", "id")
    )
    rows = Override.objects.filter(pk__in=decisions.values())
    wrong = {row.comparison_id: row.is_correction for row in rows}
    traits = _traits([*{*comparison_ids, *wrong}], judge)
    decided = [(traits[key], was) for key, was in wrong.items() if key in traits]
    if len(decided) < LEAST_DECISIONS:
        return {}
    asked = [key for key in comparison_ids if key in traits]
    return dict(zip(asked, chance_wrong(decided, [traits[key] for key in asked]), strict=True))


def _traits(comparison_ids: Sequence[int], judge: Judge) -> dict[int, LabelTraits]:
    """The traits of labels with a probability; the others can't be trained on."""
    lengths: dict[int, tuple[int, int]] = {}
    for part in chunks(comparison_ids, CHUNK):
        rows = Comparison.objects.filter(pk__in=part).values_list("id", Length("first__text"), Length("second__text"))
        lengths.update({key: (first, second) for key, first, second in rows})
    found = {}
    for key, labels in labels_by_judge(comparison_ids).items():
        own = labels.get(judge)
        if own is None or own.p_first is None or own.outcome is None:
            continue
        others = [label.outcome for label in labels_beside(judge, labels).values() if label.outcome is not None]
        against = sum(outcome != own.outcome for outcome in others) / len(others) if others else 0.0
        found[key] = LabelTraits(own.p_first, lengths[key], against)
    return found
