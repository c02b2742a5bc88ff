"""Reading labels of comparisons, for pages, exports and training sets.

What people said is read by one criterion: the unnamed one, "", unless a reader names another, or None for all of them.
What judges said is by the criterion of the judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.derive import derive, judge_label, majority, standing_override, vote_of_each
from apps.labels.models import Exclusion, Judge, Override, Preference, Score, Verdict, Vote
from apps.labels.types import Events, JudgeLabel, Label, OverrideEvent, VoteEvent
from apps.projects.models import Project
from apps.samples.models import Comparison
from prefloop.judging.verdicts import BOTH_ORDERS, orders_to_ask
from prefloop.types import Order, OrderPolicy, Outcome

Said = TypeVar("Said", bound=Model)
CHUNK = 1_000  # comparisons a transaction, some 25 ms: SQLite has one writer, and people vote meanwhile
_CHUNK = 500
_VOTE = ("comparison_id", "id", "rater", "choice", "made_at", "supersedes_id", "adjudication", "excluded", "by_edit")
_OVERRIDE = (
    "comparison_id", "id", "rater", "judge__name", "kind", "choice", "made_at", "supersedes_id", "excluded",
)  # fmt: skip


def is_excluded() -> Exists:
    """Say in SQL whether the person of a vote or decision is excluded for the time at which it was given."""
    given = Coalesce(OuterRef("at"), OuterRef("created_at"))
    theirs = Exclusion.objects.filter(project=OuterRef("comparison__project"), rater=OuterRef("rater"), lifted_at=None)
    return Exists(theirs.filter(Q(since=None) | Q(since__lte=given)))


def counted(rows: QuerySet[Said]) -> QuerySet[Said]:
    """Leave out the votes or decisions of excluded people."""
    return rows.filter(~is_excluded())


def by_criterion(rows: QuerySet[Said], criterion: str | None, field: str = "criterion") -> QuerySet[Said]:
    """Keep what was said by a criterion; None keeps everything. `field`: where the rows have its name."""
    return rows if criterion is None else rows.filter(**{field: criterion})


def preferences(criterion: str | None = "") -> QuerySet[Preference]:
    """Return the effective labels by a criterion."""
    return by_criterion(Preference.objects.all(), criterion)


def unlabelled(criterion: str = "") -> Q:
    """The filter for comparisons without an effective label by a criterion."""
    return Q(~Exists(preferences(criterion).filter(comparison=OuterRef("pk"))))


def standing_votes(criterion: str | None = "") -> QuerySet[Vote]:
    """Return the current blind votes: neither replaced nor withdrawn, those of excluded people among them."""
    rows = Vote.objects.filter(superseded_by__isnull=True, adjudication=False).exclude(choice="withdrawn")
    return by_criterion(rows, criterion)


def counting_votes(criterion: str | None = "") -> QuerySet[Vote]:
    """Return the current blind votes that labels and reports are made of."""
    return counted(standing_votes(criterion))


def standing_adjudications(criterion: str | None = "") -> QuerySet[Vote]:
    """Return the current adjudications that count; what people said by editing is none."""
    rows = Vote.objects.filter(superseded_by__isnull=True, adjudication=True, by_edit=False)
    given = by_criterion(rows, criterion)
    return counted(given.exclude(choice="withdrawn"))


def standing_decisions(criterion: str | None = "") -> QuerySet[Override]:
    """Return the current decisions that count: not replaced, withdrawn, or by an excluded person."""
    rows = counted(Override.objects.filter(superseded_by__isnull=True).exclude(kind="withdrawn"))
    return by_criterion(rows, criterion, "judge__criterion_name")


def last_vote(comparison: Comparison, user: User, criterion: str = "") -> Vote | None:
    """Give the end of this person's line of votes on a comparison, which may be a withdrawal."""
    mine = Vote.objects.filter(comparison=comparison, user=user, adjudication=False, criterion=criterion)
    return mine.filter(superseded_by__isnull=True).first()


def heads_of(user: User, comparison_ids: Sequence[int]) -> dict[int, Vote]:
    """Give the end of this person's line of votes on each of these comparisons, which may be a withdrawal."""
    mine = Vote.objects.filter(comparison__in=comparison_ids, user=user, adjudication=False, criterion="")
    last = mine.filter(superseded_by__isnull=True).select_related("ranking")
    return {vote.comparison_id: vote for vote in last}


def last_adjudication(comparison: Comparison, user: User, criterion: str = "") -> Vote | None:
    """Give the end of this person's line of adjudications on a comparison, which may be a withdrawal or an edit."""
    mine = Vote.objects.filter(comparison=comparison, user=user, adjudication=True, criterion=criterion)
    return mine.filter(superseded_by__isnull=True).first()


def last_decision(comparison: Comparison, user: User, criterion: str = "") -> Override | None:
    """Give the end of this person's line of decisions on a comparison, which may be a withdrawal."""
    mine = Override.objects.filter(comparison=comparison, user=user, superseded_by__isnull=True)
    return by_criterion(mine, criterion, "judge__criterion_name").order_by("-id").first()


def last_standing(events: QuerySet[Said], n: int, *, said: str) -> list[Said]:
    """Give the last n of a person's events that were neither replaced nor withdrawn, the newest first.

    `said`: the field that says `withdrawn`. Reads from the end, only as far as it has to: a join with what replaced
    them makes PostgreSQL read them all.
    """
    replaced: set[int] = set()
    found: list[int] = []
    latest = events.order_by("-pk")
    rows = list(latest.values_list("pk", "supersedes_id", said)[:_CHUNK])
    while rows:
        for pk, supersedes, what in rows:
            if pk not in replaced and what != "withdrawn":
                found.append(pk)
            replaced.add(supersedes)
        if len(found) >= n or len(rows) < _CHUNK:
            break
        rows = list(latest.filter(pk__lt=rows[-1][0]).values_list("pk", "supersedes_id", said)[:_CHUNK])
    there = events.in_bulk(found[:n])
    return [there[pk] for pk in found[:n]]


def decision_of(comparison: Comparison, criterion: str | None = "") -> Override | None:
    """The current decision: the last that was neither replaced nor withdrawn, by anybody."""
    rows = standing_decisions(criterion).filter(comparison=comparison).select_related("judge")
    return max(rows, key=lambda row: (row.at or row.created_at, row.pk), default=None)


def scores_of(judge: Judge, completion_ids: Sequence[int]) -> dict[int, float]:
    """Return the judge's mean score of each completion that has one."""
    values: dict[int, list[float]] = {}
    for chunk in chunks(completion_ids, _CHUNK):
        rows = Score.objects.filter(judge=judge, completion_id__in=chunk, state="ok", value__isnull=False)
        for completion_id, value in rows.values_list("completion_id", "value"):
            values.setdefault(completion_id, []).append(float(value or 0.0))
    return {completion_id: sum(many) / len(many) for completion_id, many in values.items()}


def judge_names(project: Project) -> dict[int, str]:
    """Name each judge of a project for exports: by its name, and by its version too if several versions have
    verdicts.
    """
    said = Exists(Verdict.objects.filter(judge=OuterRef("pk")))
    judges = list(Judge.objects.filter(project=project).annotate(has_spoken=said).order_by("name", "version"))
    spoken: dict[str, int] = defaultdict(int)
    for judge in judges:
        spoken[judge.name] += judge.has_spoken
    return {
        judge.pk: judge.name if spoken[judge.name] < 2 or judge.version == 1 else f"{judge.name} v{judge.version}"
        for judge in judges
    }


def label_judge(project: Project, criterion: str = "") -> Judge | None:
    """Return the label judge, whose verdicts count where no person has voted: the latest version of the project's
    choice for the criterion.

    If the project has not chosen one and only one judge judges by the criterion, it is that one.
    """
    judges = Judge.objects.filter(project=project, criterion_name=criterion).order_by("name", "-version")
    chosen = label_judge_name(project, criterion)
    if chosen:
        return judges.filter(name=chosen).first()
    names = {judge.name: judge for judge in reversed(judges.filter(retired_at__isnull=True))}
    return next(iter(names.values())) if len(names) == 1 else None


def label_judge_name(project: Project, criterion: str = "") -> str:
    """Name the judge that the project chose to label by a criterion; "" if it has chosen none."""
    return str(project.known_criteria.get(criterion, "")) if criterion else project.label_judge


def among(field: str, ids: Sequence[int]) -> Q:
    """Filter by these ids; for a contiguous range, as an import makes, by its ends alone."""
    if len(ids) > 1 and max(ids) - min(ids) + 1 == len(set(ids)) == len(ids):
        return Q(**{f"{field}__gte": min(ids), f"{field}__lte": max(ids)})
    return Q(**{f"{field}__in": ids})


def label_by(judge: Judge, verdicts: Sequence[Verdict]) -> JudgeLabel | None:
    """Combine a judge's verdicts on one comparison by its order policy; None while one of its orders is missing."""
    return judge_label(judge=judge.name, policy=cast(OrderPolicy, judge.order_policy), verdicts=verdicts)


def orders_for(judge: Judge, comparison_id: int, *, both: bool = False) -> tuple[Order, ...]:
    """Return the orders in which this judge is asked about a comparison.

    `both`: in both, whatever its policy, if the order can matter to it.
    """
    if both and len(judge.declared.order_policies(judge.mode)) > 1:
        return BOTH_ORDERS
    return orders_to_ask(cast(OrderPolicy, judge.order_policy), seed=0, comparison_id=str(comparison_id))


def judge_labels(*, comparison_ids: Sequence[int], judge: Judge) -> dict[int, JudgeLabel]:
    """Return one judge's label of each of these comparisons that it has judged."""
    verdicts = defaultdict(list)
    fields = ("id", "comparison_id", "order", "state", "outcome", "p_first")
    for ids in chunks(comparison_ids, CHUNK):
        for verdict in Verdict.objects.filter(among("comparison_id", ids), judge=judge).only(*fields):
            verdicts[verdict.comparison_id].append(verdict)
    made = {key: label_by(judge, rows) for key, rows in verdicts.items()}
    return {key: label for key, label in made.items() if label is not None}


def vote_events(comparison_ids: Sequence[int], criterion: str = "") -> dict[int, list[VoteEvent]]:
    """Read every vote on these comparisons, including replaced and withdrawn ones."""
    votes: dict[int, list[VoteEvent]] = defaultdict(list)
    for ids in chunks(comparison_ids, CHUNK):
        said = Vote.objects.filter(among("comparison_id", ids), criterion=criterion).order_by("id")
        rows = said.annotate(made_at=Coalesce("at", "created_at"), excluded=is_excluded()).values_list(*_VOTE)
        for key, *event in rows:
            votes[key].append(VoteEvent(*event))
    return votes


def override_events(comparison_ids: Sequence[int], criterion: str = "") -> dict[int, list[OverrideEvent]]:
    """Read every decision on these comparisons, replaced and withdrawn ones among them."""
    overrides: dict[int, list[OverrideEvent]] = defaultdict(list)
    for ids in chunks(comparison_ids, CHUNK):
        said = Override.objects.filter(among("comparison_id", ids), judge__criterion_name=criterion).order_by("id")
        rows = said.annotate(made_at=Coalesce("at", "created_at"), excluded=is_excluded()).values_list(*_OVERRIDE)
        for key, *event in rows:
            overrides[key].append(OverrideEvent(*event))
    return overrides


def majorities(comparison_ids: Sequence[int], criterion: str = "") -> dict[int, Outcome]:
    """Give what most people said blind, where there is a majority."""
    votes = vote_events(comparison_ids, criterion)
    found = {key: majority(vote_of_each(said).values()) for key, said in votes.items()}
    return {key: outcome for key, outcome in found.items() if outcome is not None}


def decisions_among(comparison_ids: Sequence[int], criterion: str = "") -> dict[int, OverrideEvent]:
    """Give the decision that stands on each of these comparisons that has one."""
    overrides = override_events(comparison_ids, criterion)
    found = {key: standing_override(events) for key, events in overrides.items()}
    return {key: event for key, event in found.items() if event is not None}


def events_of(*, comparison_ids: Sequence[int], judge: Judge | None, criterion: str = "") -> dict[int, Events]:
    """Read all labels of these comparisons by the judge's criterion, without a judge by `criterion`: three queries per
    chunk, whatever their number.
    """
    criterion = criterion if judge is None else judge.criterion_name
    votes, overrides = vote_events(comparison_ids, criterion), override_events(comparison_ids, criterion)
    labels = judge_labels(comparison_ids=comparison_ids, judge=judge) if judge is not None else {}
    return {
        key: Events(tuple(votes.get(key, ())), tuple(overrides.get(key, ())), labels.get(key)) for key in comparison_ids
    }


def labels_of(
    *, comparison_ids: Sequence[int], judge: Judge | None, with_overrides: bool = True, criterion: str = ""
) -> dict[int, Label]:
    """Return the effective labels of these comparisons with this judge as the label judge, without writing anything.

    They are by the judge's criterion, without a judge by `criterion`. Comparisons of equal answers have none.
    """
    same: set[int] = set()
    for ids in chunks(comparison_ids, CHUNK):
        rows = Comparison.objects.filter(among("id", ids), same_answers=True)
        same.update(rows.values_list("id", flat=True))
    return labels_derived([key for key in comparison_ids if key not in same], judge, with_overrides, criterion)


def labels_derived(
    comparison_ids: Sequence[int], judge: Judge | None, with_overrides: bool = True, criterion: str = ""
) -> dict[int, Label]:
    """Return the effective labels of comparisons that are known to have unequal answers."""
    labels: dict[int, Label] = {}
    for key, events in events_of(comparison_ids=comparison_ids, judge=judge, criterion=criterion).items():
        overrides = events.overrides if with_overrides else ()
        label = derive(votes=events.votes, overrides=overrides, judge=events.judge)
        if label is not None:
            labels[key] = label
    return labels


def labels_by_judge(comparison_ids: Sequence[int]) -> dict[int, dict[Judge, JudgeLabel]]:
    """Return every judge's label of these comparisons."""
    return labels_of_verdicts(verdicts_by_judge(comparison_ids))


def labels_of_verdicts(verdicts: dict[int, dict[int, list[Verdict]]]) -> dict[int, dict[Judge, JudgeLabel]]:
    judges = Judge.objects.in_bulk({judge_id for rows in verdicts.values() for judge_id in rows})
    return {
        key: {judges[pk]: made for pk, rows in by_judge.items() if (made := label_by(judges[pk], rows)) is not None}
        for key, by_judge in verdicts.items()
    }


def labels_beside(judge: Judge, labels: Mapping[Judge, JudgeLabel]) -> dict[str, JudgeLabel]:
    """Return what the other judges of its criterion say, by name: the newest of the versions that labelled the
    comparison.
    """
    newest = sorted((one for one in labels if one.criterion_name == judge.criterion_name), key=lambda one: one.version)
    return {other.name: labels[other] for other in newest if other.name != judge.name}


def verdicts_by_judge(comparison_ids: Sequence[int]) -> dict[int, dict[int, list[Verdict]]]:
    """Read every verdict on these comparisons, without the replies."""
    found: dict[int, dict[int, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    fields = ("id", "judge_id", "comparison_id", "order", "state", "outcome", "p_first", "flags")
    for ids in chunks(comparison_ids, CHUNK):
        for verdict in Verdict.objects.filter(among("comparison_id", ids)).only(*fields):
            found[verdict.comparison_id][verdict.judge_id].append(verdict)
    return found


def said_by_others(comparison_ids: Sequence[int], *, user_id: int) -> set[int]:
    """Return those of the comparisons that have a label by a judge, gold or another person."""
    found: set[int] = set()
    not_mine = Q(user=None) | ~Q(user=user_id)
    for ids in chunks(comparison_ids, _CHUNK):
        for rows in (
            Verdict.objects.filter(comparison__in=ids),
            Vote.objects.filter(not_mine, comparison__in=ids),
            Override.objects.filter(not_mine, comparison__in=ids),
        ):
            found.update(rows.order_by().values_list("comparison_id", flat=True).distinct())
        scored = Score.objects.filter(completion__prompt__comparisons__in=ids).values("completion")
        known = ~Q(gold="") | Q(first__in=scored) | Q(second__in=scored)
        found.update(Comparison.objects.filter(known, pk__in=ids).values_list("id", flat=True))
    return found
