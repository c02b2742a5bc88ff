"""The rows that Review reads, brought to what verdicts, votes and decisions say.

A row follows from its own comparison alone, so whoever changes something on a comparison settles its rows in the same
transaction. Verdicts of an unfinished import have none yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.models import Case, F, Q, When

from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.core.listeners import Listeners
from apps.labels.derive import majority, standing_override, vote_of_each
from apps.labels.effect import COUNTED, effect_of
from apps.labels.models import Judge, Verdict
from apps.labels.review_models import ASIDE, DECIDED, TODO, ReviewItem
from apps.labels.selectors import (
    CHUNK,
    among,
    label_by,
    labels_beside,
    override_events,
    verdicts_by_judge,
    vote_events,
)
from apps.labels.types import Events
from apps.labels.worth import worth_against_people, worth_of
from apps.prompts.models import ready
from apps.samples.models import Comparison
from prefloop.seeds import derive_seed

Counts = Counter[tuple[int, str]]  # by judge and name
_LISTED = {TODO: "n_to_review", DECIDED: "n_decided"}


class Row(NamedTuple):
    """What a ReviewItem says, field by field."""

    state: str
    value: float
    code: str
    detail: dict[str, Any]
    outcome: str
    if_contested: float | None
    contested: float | None
    n_verdicts: int
    effect: str


FIELDS = Row._fields
# told which comparisons, locked, a review of some judge's label is worth for another reason than before
WORTH_CHANGED: Listeners[[Sequence[int]]] = Listeners()
Keyed = dict[tuple[int, int], Row]  # by comparison and judge


def share_of(comparison_id: int, seed: int = 0) -> float:
    """Draw a number in [0, 1) for a comparison, always the same."""
    return derive_seed(seed, "review", comparison_id) / 2**63


def rows_computed(comparison_ids: Sequence[int]) -> Keyed:
    """Compute from the labels what the rows of these comparisons should say; at most some thousands."""
    there = Comparison.objects.filter(ready(), among("pk", comparison_ids))
    aside = {pk: (held_out, same) for pk, held_out, same in there.values_list("pk", "held_out", "same_answers")}
    verdicts = {key: said for key, said in verdicts_by_judge(comparison_ids).items() if key in aside}
    if not verdicts:
        return {}
    judges = Judge.objects.in_bulk({judge for said in verdicts.values() for judge in said})
    made: Keyed = {}
    for criterion in sorted({judge.criterion_name for judge in judges.values()}):
        mine = {pk: judge for pk, judge in judges.items() if judge.criterion_name == criterion}
        said = {key: {pk: by[pk] for pk in by if pk in mine} for key, by in verdicts.items()}
        made |= _rows_of({key: by for key, by in said.items() if by}, mine, aside, criterion)
    return made


def _rows_of(
    verdicts: dict[int, dict[int, list[Verdict]]],
    judges: dict[int, Judge],
    aside: dict[int, tuple[bool, bool]],
    criterion: str,
) -> Keyed:
    """Compute the rows of judges who judge by one criterion."""
    judged = sorted(verdicts)
    votes, overrides = vote_events(judged, criterion), override_events(judged, criterion)
    made: Keyed = {}
    for key, by_judge in verdicts.items():
        labels = {judges[pk]: label for pk, said in by_judge.items() if (label := label_by(judges[pk], said))}
        share, decisions = share_of(key), overrides.get(key, ())
        people = majority(vote_of_each(votes[key]).values()) if key in votes else None
        held_out, same = aside[key]
        state = ASIDE if held_out or same else DECIDED if standing_override(decisions) is not None else TODO
        for pk, said in by_judge.items():
            label = labels.get(judges[pk])
            worth = worth_of(said, label, labels_beside(judges[pk], labels), share)
            against = worth_against_people(worth, label, share)
            if_contested = against.value if against.code != worth.code else None
            outcome = "" if label is None or label.outcome is None else label.outcome
            effect = ""
            if decisions and not same:
                effect = effect_of(Events(tuple(votes.get(key, ())), tuple(decisions), label))
            made[key, pk] = Row(
                state,
                worth.value,
                worth.code,
                dict(worth.detail),
                outcome,
                if_contested,
                if_contested if people is not None and people != outcome else None,
                len(said),
                effect,
            )
    return made


def rows_kept(comparison_ids: Sequence[int]) -> dict[tuple[int, int], tuple[int, Row]]:
    """Read the rows of these comparisons, each with its id."""
    rows = ReviewItem.objects.filter(among("comparison_id", comparison_ids))
    return {
        (key, judge): (pk, Row(*said))
        for key, judge, pk, *said in rows.values_list("comparison_id", "judge_id", "pk", *FIELDS)
    }


def rows_settle(comparison_ids: Sequence[int]) -> Counts:
    """Bring the rows of these comparisons to what the labels say, and return how the counts change by it.

    The caller has locked the comparisons. Repeating it changes nothing.
    """
    changes: Counts = Counter()
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        wanted, kept = rows_computed(ids), rows_kept(ids)
        new = [(key, judge, *row) for (key, judge), row in wanted.items() if (key, judge) not in kept]
        rows_insert(ReviewItem, ("comparison_id", "judge_id", *FIELDS), new)
        changed = [
            ReviewItem(comparison_id=key, judge_id=judge, **row._asdict())
            for (key, judge), row in wanted.items()
            if (key, judge) in kept and kept[key, judge][1] != row
        ]
        ReviewItem.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["comparison", "judge"], update_fields=FIELDS
        )
        gone = [pk for whose, (pk, _) in kept.items() if whose not in wanted]
        if gone:
            ReviewItem.objects.filter(pk__in=gone).delete()
        weighed = {key for (key, judge), row in wanted.items() if _code(kept.get((key, judge))) != row.code}
        weighed |= {key for key, judge in kept if (key, judge) not in wanted}
        if weighed:
            WORTH_CHANGED.tell(sorted(weighed))
        changes.update(counts_of(wanted.items()))
        changes.subtract(counts_of((whose, row) for whose, (_, row) in kept.items()))
    return changes


def _code(kept: tuple[int, Row] | None) -> str:
    return "" if kept is None else kept[1].code


def counts_of(rows: Iterable[tuple[tuple[int, int], Row]]) -> Counts:
    """Count rows as ReviewCount does."""
    found: Counts = Counter()
    for (_, judge), row in rows:
        found[judge, "n_verdicts"] += row.n_verdicts
        if row.state in _LISTED:
            found[judge, _LISTED[row.state]] += 1
        for name in COUNTED.get(row.effect, ()):
            found[judge, name] += 1
    return found


def people_said(comparison_id: int, outcome: str, criterion: str) -> None:
    """Note what most people say of a comparison on which nobody has decided: no count follows from it."""
    contested = When(Q(if_contested__isnull=False) & ~Q(outcome=outcome), then=F("if_contested"))
    rows = ReviewItem.objects.filter(comparison=comparison_id, judge__criterion_name=criterion)
    rows.update(contested=Case(contested, default=None))


def rows_differing(comparison_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (comparison, judge) of every row that is missing, too much, or not what the labels say."""
    found = []
    for ids in chunks(sorted(set(comparison_ids)), CHUNK):
        wanted, kept = rows_computed(ids), {whose: row for whose, (_, row) in rows_kept(ids).items()}
        found += [whose for whose in {*wanted, *kept} if wanted.get(whose) != kept.get(whose)]
    return sorted(found)
