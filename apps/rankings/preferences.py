"""The effective label of a comparison, derived from the labels that people and judges left.

    override > adjudication > human majority > judge

`derive` is pure and gives the same answer in whatever order the events reach it; `preferences_derive` writes that
answer down. Deriving again from the same events changes no row.

Two rules that are easy to get wrong:
1. An `agree` is no correction: the label stays the judge's (its source says so) and is pinned to what was agreed to,
   below what people said blind.
2. Skips and withdrawn votes are kept, and count for nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.judging.models import Judge, Verdict
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import Override, Preference, Vote
from apps.samples.models import Comparison
from prefloop.judging.verdicts import BOTH_ORDERS, EffectiveLabel, OrderedVerdict, combine
from prefloop.types import OUTCOMES, LabelledVerdict, OrderPolicy, Outcome, VerdictState

CHUNK = 1_000  # comparisons a transaction, some 25 ms: SQLite has one writer, and people vote meanwhile
_VOTE = ("comparison_id", "id", "rater", "choice", "made_at", "supersedes_id", "adjudication")
_PREFERENCE = ("comparison_id", "outcome", "p_first", "source", "label_ids", "derived_at")
_ORDERS = {"01": BOTH_ORDERS[0], "10": BOTH_ORDERS[1]}
_HARD: dict[str, float | None] = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": None}


@dataclass(frozen=True, slots=True)
class VoteEvent:
    """What one person said, blind. `at`: when it was said, for ordering one person's changes of mind."""

    id: int
    rater: str
    choice: str
    at: datetime
    supersedes: int | None = None
    adjudication: bool = False


@dataclass(frozen=True, slots=True)
class OverrideEvent:
    """What one person decided, seeing the judge `judge`'s label."""

    id: int
    rater: str
    judge: str
    kind: str  # agree | override | withdrawn
    choice: str
    at: datetime
    supersedes: int | None = None


@dataclass(frozen=True, slots=True)
class JudgeLabel:
    """What a judge's verdicts on one comparison come to by its order policy. `p_first`: None where it has none."""

    judge: str
    state: VerdictState
    outcome: Outcome | None
    p_first: float | None
    verdict_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """The effective label. `outcome` may be `inconsistent`; `p_first` is None where no pair can be made of it."""

    outcome: str
    p_first: float | None
    source: str
    label_ids: tuple[str, ...]


def standing_votes(votes: Iterable[VoteEvent]) -> dict[str, VoteEvent]:
    """Give each person's vote that stands: their last one, unless it took the earlier ones back."""
    kept: dict[str, VoteEvent] = {}
    votes = list(votes)
    replaced = {vote.supersedes for vote in votes}
    for vote in votes:
        now = kept.get(vote.rater)
        if vote.id not in replaced and (now is None or (vote.at, vote.id) > (now.at, now.id)):
            kept[vote.rater] = vote
    return {rater: vote for rater, vote in kept.items() if vote.choice != "withdrawn"}


def standing_override(overrides: Iterable[OverrideEvent]) -> OverrideEvent | None:
    """Give the decision that stands: the last one of anybody's that was neither replaced nor withdrawn."""
    overrides = list(overrides)
    if not overrides:
        return None
    replaced = {event.supersedes for event in overrides}
    standing = [event for event in overrides if event.id not in replaced and event.kind != "withdrawn"]
    return max(standing, key=lambda event: (event.at, event.id), default=None)


def majority(votes: Iterable[VoteEvent]) -> Outcome | None:
    """Give the outcome with strictly the most votes, skips aside; None where there is none."""
    choices = [vote.choice for vote in votes if vote.choice in OUTCOMES]
    if len(choices) == 1:  # most comparisons, and a Counter takes longer than all the rest
        return choices[0]
    counts = Counter(choices).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def derive(*, votes: Iterable[VoteEvent], overrides: Iterable[OverrideEvent], judge: JudgeLabel | None) -> Label | None:
    """Give the effective label of one comparison; None where nobody has said anything yet."""
    decision = standing_override(overrides)
    if decision is not None and decision.kind == "override":
        return _hard(decision.choice, "override", [f"override:{decision.id}"])
    standing = standing_votes(votes).values()
    settled = [vote for vote in standing if vote.adjudication and vote.choice in OUTCOMES]
    if settled:
        last = max(settled, key=lambda vote: (vote.at, vote.id))
        return _hard(last.choice, "adjudication", [f"vote:{last.id}"])
    chosen = majority(standing)
    if chosen is not None:
        counted = sorted(vote.id for vote in standing if vote.choice in OUTCOMES)
        return _hard(chosen, "human", [f"vote:{vote_id}" for vote_id in counted])
    return _judges(judge, decision)


def label_without_overrides(
    *, votes: Iterable[VoteEvent], overrides: Iterable[OverrideEvent], judge: JudgeLabel | None
) -> Label | None:
    """Give what the label would be had nobody corrected a judge: what overrides changed is the difference."""
    del overrides
    return derive(votes=votes, overrides=(), judge=judge)


def _judges(judge: JudgeLabel | None, decision: OverrideEvent | None) -> Label | None:
    if decision is not None and decision.choice:  # an agree: what was confirmed stays, whatever is asked later
        same = judge is not None and judge.judge == decision.judge and judge.outcome == decision.choice
        p_first = judge.p_first if same and judge is not None else _HARD[decision.choice]
        ids = [f"verdict:{verdict_id}" for verdict_id in judge.verdict_ids] if same and judge is not None else []
        return Label(decision.choice, p_first, f"judge:{decision.judge}", (*ids, f"override:{decision.id}"))
    if judge is None:
        return None
    ids = [f"verdict:{verdict_id}" for verdict_id in judge.verdict_ids]
    if judge.outcome is not None:
        return Label(judge.outcome, judge.p_first, f"judge:{judge.judge}", tuple(ids))
    if judge.state == "inconsistent":
        return Label("inconsistent", None, f"judge:{judge.judge}", tuple(ids))
    return None  # unparseable, error, skipped: the judge has said nothing that could be a label


def _hard(choice: str, source: str, ids: Sequence[str]) -> Label:
    return Label(choice, _HARD[choice], source, tuple(ids))


def judge_label(*, judge: str, policy: OrderPolicy, verdicts: Iterable[Verdict]) -> JudgeLabel | None:
    """Combine a judge's verdicts on one comparison; None while an order that the policy needs is missing."""
    verdicts = sorted(verdicts, key=lambda verdict: verdict.pk)
    if not verdicts:
        return None
    if policy == "random":
        # One order was asked, by a seed of the run. That order's verdicts stand for both, so that the seed, which
        # imported verdicts lack, need not be known; the first order asked rules if there are two.
        verdicts = [verdict for verdict in verdicts if verdict.order == verdicts[0].order]
        read = [_ordered(verdict) for verdict in verdicts]
        both = [OrderedVerdict(order, item.verdict) for order in BOTH_ORDERS for item in read]
        combined = combine(both, "both_agree")
    else:
        combined = combine([_ordered(verdict) for verdict in verdicts], policy)
    if combined is None:
        return None
    return JudgeLabel(
        judge, combined.state, combined.outcome, soft(combined), tuple(verdict.pk for verdict in verdicts)
    )


def soft(label: EffectiveLabel) -> float | None:
    """P(first is better) of a judge's label: its own where it gave one, else what its outcome says."""
    if label.outcome is None or label.outcome == "both_bad":
        return None
    return _HARD[label.outcome] if label.p_first is None else label.p_first


def _ordered(verdict: Verdict) -> OrderedVerdict:
    outcome = cast(Outcome, verdict.outcome) if verdict.outcome else None
    return OrderedVerdict(
        _ORDERS[verdict.order],
        LabelledVerdict(state=cast(VerdictState, verdict.state), outcome=outcome, p_first=verdict.p_first),
    )


@dataclass(frozen=True, slots=True)
class Events:
    """All that was said about one comparison, ready for `derive`."""

    votes: tuple[VoteEvent, ...] = ()
    overrides: tuple[OverrideEvent, ...] = ()
    judge: JudgeLabel | None = None


def label_judge(project: Project) -> Judge | None:
    """Give the judge whose word fills in where no person has spoken: the latest version of the project's choice.

    A project that has not chosen, and has one judge only, means that one.
    """
    judges = Judge.objects.filter(project=project).order_by("name", "-version")
    if project.label_judge:
        return judges.filter(name=project.label_judge).first()
    names = {judge.name: judge for judge in reversed(judges.filter(retired_at__isnull=True))}
    return next(iter(names.values())) if len(names) == 1 else None


def _among(field: str, ids: Sequence[int]) -> Q:
    """Ask for these ids; for a whole stretch of them, as an import makes, by its ends alone."""
    if len(ids) > 1 and max(ids) - min(ids) + 1 == len(set(ids)) == len(ids):
        return Q(**{f"{field}__gte": min(ids), f"{field}__lte": max(ids)})
    return Q(**{f"{field}__in": ids})


def judge_labels(*, comparison_ids: Sequence[int], judge: Judge) -> dict[int, JudgeLabel]:
    """Give one judge's label of each of these comparisons that it has judged."""
    verdicts = defaultdict(list)
    fields = ("id", "comparison_id", "order", "state", "outcome", "p_first")
    for ids in chunks(comparison_ids, CHUNK):
        for verdict in Verdict.objects.filter(_among("comparison_id", ids), judge=judge).only(*fields):
            verdicts[verdict.comparison_id].append(verdict)
    policy = cast(OrderPolicy, judge.order_policy)
    made = {key: judge_label(judge=judge.name, policy=policy, verdicts=rows) for key, rows in verdicts.items()}
    return {key: label for key, label in made.items() if label is not None}


def events_of(*, comparison_ids: Sequence[int], judge: Judge | None, with_votes: bool = True) -> dict[int, Events]:
    """Read all that was said about these comparisons: three queries a chunk, whatever their number."""
    votes: dict[int, list[VoteEvent]] = defaultdict(list)
    overrides: dict[int, list[OverrideEvent]] = defaultdict(list)
    for ids in chunks(comparison_ids, CHUNK):
        said = Vote.objects.filter(_among("comparison_id", ids if with_votes else ())).order_by("id")
        rows = said.annotate(made_at=Coalesce("at", "created_at")).values_list(*_VOTE)
        for key, pk, rater, choice, at, supersedes, adjudication in rows:
            votes[key].append(VoteEvent(pk, rater, choice, at, supersedes, adjudication))
        for event in Override.objects.filter(_among("comparison_id", ids)).select_related("judge").order_by("id"):
            overrides[event.comparison_id].append(
                OverrideEvent(
                    event.pk,
                    event.rater,
                    event.judge.name,
                    event.kind,
                    event.choice,
                    event.at or event.created_at,
                    event.supersedes_id,
                )
            )
    labels = judge_labels(comparison_ids=comparison_ids, judge=judge) if judge is not None else {}
    return {key: Events(tuple(votes[key]), tuple(overrides[key]), labels.get(key)) for key in comparison_ids}


def labels_of(*, comparison_ids: Sequence[int], judge: Judge | None, with_overrides: bool = True) -> dict[int, Label]:
    """Give the effective labels of these comparisons with this judge as the labeller, without writing anything."""
    labels: dict[int, Label] = {}
    how = derive if with_overrides else label_without_overrides
    for key, events in events_of(comparison_ids=comparison_ids, judge=judge).items():
        label = how(votes=events.votes, overrides=events.overrides, judge=events.judge)
        if label is not None:
            labels[key] = label
    return labels


def preferences_derive(
    *, project: Project, comparison_ids: Sequence[int] | None = None, now: datetime, judge: Judge | None = None
) -> int:
    """Write the effective labels of a project's comparisons; all of them unless ids are given.

    `judge` stands in for the project's label judge. Returns the number of rows written or removed: 0 when nothing was
    said since the last time. Comparisons of other projects and of unfinished imports are left alone.
    """
    if judge is None:
        judge = label_judge(project)
    rows: QuerySet[Comparison] = Comparison.objects.filter(ready(), project=project)
    if comparison_ids is None:
        wanted = list(rows.order_by("id").values_list("id", flat=True))
    else:
        wanted = sorted(set(comparison_ids))
    return sum(_derive_chunk(rows, ids, judge, now) for ids in chunks(wanted, CHUNK))


@transaction.atomic
def _derive_chunk(rows: QuerySet[Comparison], ids: Sequence[int], judge: Judge | None, now: datetime) -> int:
    # Locked in one order: two people voting on one comparison each see the other's vote, and never wait in a circle.
    ours = list(
        rows.filter(_among("id", ids))
        .select_for_update(no_key=True, of=("self",))
        .order_by("id")
        .values_list("id", flat=True)
    )
    labels = labels_of(comparison_ids=ours, judge=judge)
    before = {row.comparison_id: row for row in Preference.objects.filter(_among("comparison_id", ours))}
    new = [
        (key, label.outcome, label.p_first, label.source, list(label.label_ids), now)
        for key, label in labels.items()
        if key not in before
    ]
    changed = [
        _row(key, label, now) for key, label in labels.items() if key in before and not _says(before[key], label)
    ]
    gone = [key for key in before if key not in labels]
    rows_insert(Preference, _PREFERENCE, new)  # nobody else makes them: the comparisons are locked
    Preference.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["comparison"],
        update_fields=["outcome", "p_first", "source", "label_ids", "derived_at"],
    )
    if gone:
        Preference.objects.filter(comparison_id__in=gone).delete()
    return len(new) + len(changed) + len(gone)


def _row(comparison_id: int, label: Label, now: datetime) -> Preference:
    return Preference(
        comparison_id=comparison_id,
        outcome=label.outcome,
        p_first=label.p_first,
        source=label.source,
        label_ids=list(label.label_ids),
        derived_at=now,
    )


def _says(row: Preference, label: Label) -> bool:
    return (row.outcome, row.p_first, row.source, row.label_ids) == (
        label.outcome,
        label.p_first,
        label.source,
        list(label.label_ids),
    )
