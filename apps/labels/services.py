"""Writing labels, and the effective label that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import User
from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.core.services import audit
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.labels.derive import derive
from apps.labels.models import Judge, JudgingRun, Override, Preference, Ranking, Score, Verdict, Vote
from apps.labels.review_counts import reviews_counted, reviews_settle
from apps.labels.review_items import people_said
from apps.labels.selectors import CHUNK, among, label_judge, labels_derived, preferences
from apps.labels.types import Label, VoteEvent
from apps.projects.models import Project
from apps.projects.services import criteria_know
from apps.prompts.models import ready
from apps.samples.models import Comparison, comparable
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.types import LabelledVerdict

AT_ONCE = 2000  # comparisons whose labels are made again within the request; more is a job
_PREFERENCE = ("comparison_id", "criterion", "outcome", "p_first", "source", "label_ids", "derived_at")


@dataclass(frozen=True, slots=True)
class NewVerdict:
    comparison_id: int
    order: str  # "01" or "10"
    verdict: LabelledVerdict
    sample: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NewScore:
    completion_id: int
    value: float | None
    state: str = "ok"
    sample: int = 0
    raw: str = ""
    rationale: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None

    @classmethod
    def of(cls, completion_id: int, said: ScoredAnswer, sample: int = 0, seconds: float | None = None) -> NewScore:
        return cls(completion_id, said.value, said.state, sample, said.raw, said.rationale, said.usage, seconds)


def verdicts_add(*, judge: Judge, run: JudgingRun | None, verdicts: Iterable[NewVerdict]) -> None:
    """Append verdicts; one for the same judge, comparison, order and sample is not stored twice."""
    verdicts = list(verdicts)
    for some in chunks(verdicts, CHUNK):
        with reviews_counted(sorted({new.comparison_id for new in some})):
            _verdicts_insert(judge, run, some)


def _verdicts_insert(judge: Judge, run: JudgingRun | None, verdicts: Iterable[NewVerdict]) -> None:
    Verdict.objects.bulk_create(
        [
            Verdict(
                judge=judge,
                comparison_id=new.comparison_id,
                run=run,
                order=new.order,
                sample=new.sample,
                state=new.verdict.state,
                outcome=new.verdict.outcome or "",
                p_first=new.verdict.p_first,
                raw=new.verdict.raw,
                rationale=new.verdict.rationale,
                usage=new.verdict.usage,
                seconds=new.seconds,
                flags=list(new.verdict.flags),
            )
            for new in verdicts
        ],
        ignore_conflicts=True,
        batch_size=200,
    )


def scores_add(*, judge: Judge, scores: Iterable[NewScore], run: JudgingRun | None = None) -> None:
    """Append a judge's scores; one for the same completion and sample is not stored twice."""
    Score.objects.bulk_create(
        [
            Score(
                judge=judge,
                completion_id=new.completion_id,
                sample=new.sample,
                run=run,
                state=new.state,
                value=new.value,
                raw=new.raw,
                rationale=new.rationale,
                usage=new.usage,
                seconds=new.seconds,
            )
            for new in scores
        ],
        ignore_conflicts=True,
        batch_size=200,
    )


def vote_append(*, vote: Vote, now: datetime) -> Vote:
    """Append a person's vote, and derive the label anew. The caller has locked the comparison."""
    vote.save(force_insert=True)
    derive_again(
        project=vote.comparison.project, comparison_ids=[vote.comparison_id], criterion=vote.criterion, now=now
    )
    reviews_settle([vote.comparison_id])
    return vote


def ranking_append(*, ranking: Ranking, votes: Sequence[Vote], project: Project, now: datetime) -> None:
    """Append a person's ranking with its votes on pairs, and derive their labels anew.

    The caller has locked the comparisons.
    """
    ranking.save(force_insert=True)
    Vote.objects.bulk_create(votes)
    ids = [vote.comparison_id for vote in votes]
    derive_again(project=project, comparison_ids=ids, criterion="", now=now)
    reviews_settle(ids)


def first_vote_append(*, vote: Vote, now: datetime, judged: bool) -> Vote:
    """Append a person's vote on a comparison that has no other vote by its criterion and no override, so that it is the
    label.

    The caller has locked the comparison and knows that people may be asked about it, and whether judges were
    (`judged`).
    """
    vote.save(force_insert=True)
    label = derive(votes=[VoteEvent(vote.pk, vote.rater, vote.choice, vote.at or now)], overrides=(), judge=None)
    if label is not None:
        _preferences_write([_row(vote.comparison_id, vote.criterion, label, now)])
        if judged:
            people_said(vote.comparison_id, label.outcome, vote.criterion)
    return vote


def vote_withdraw(*, vote: Vote, now: datetime) -> Vote:
    """Append that a person takes their vote back, and derive the label anew. The caller has locked the comparison."""
    taken_back = Vote(
        comparison=vote.comparison,
        assignment_id=vote.assignment_id,
        user_id=vote.user_id,
        rater=vote.rater,
        criterion=vote.criterion,
        choice="withdrawn",
        order=vote.order,
        at=now,
        guideline=vote.guideline,
        adjudication=vote.adjudication,
        supersedes=vote,
    )
    return vote_append(vote=taken_back, now=now)


def override_append(*, override: Override, now: datetime) -> Override:
    """Append a person's decision, and derive the label anew. The caller has locked the comparison."""
    with reviews_counted([override.comparison_id]):
        override.save(force_insert=True)
    project, criterion = override.comparison.project, override.judge.criterion_name
    derive_again(project=project, comparison_ids=[override.comparison_id], criterion=criterion, now=now)
    return override


def label_judge_set(*, judge: Judge, by: User) -> None:
    """Make this judge the label judge for its criterion, and derive the labels again."""
    project = judge.project
    with transaction.atomic():
        if judge.criterion_name:
            criteria_know(project=project, label_judges={judge.criterion_name: judge.name})
        else:
            project.label_judge = judge.name
            project.save(update_fields=["label_judge"])
        audit(
            actor=by,
            verb="project.label_judge",
            target=f"judge:{judge.pk}",
            project=project,
            data={"judge": judge.name},
        )
        if Comparison.objects.filter(project=project).count() > AT_ONCE:
            job_enqueue(
                kind="labels.derive",
                turn=Turn.SOON,
                queue="cpu",
                payload={},
                project=project,
                title=f"Derive labels again, by {judge.name}",
                started_by=by,
            )
            return
    preferences_derive(project=project, now=timezone.now())


def preferences_derive(
    *, project: Project, comparison_ids: Sequence[int] | None = None, now: datetime, judge: Judge | None = None
) -> int:
    """Write the effective labels of a project's comparisons by every criterion; all comparisons unless ids are given.

    `judge` replaces the project's label judge, by the judge's criterion alone. Returns the number of rows written or
    removed: 0 if nothing changed since the last time. Comparisons of other projects and of unfinished imports are left
    alone.
    """
    if judge is not None:
        return derive_again(
            project=project, comparison_ids=comparison_ids, criterion=judge.criterion_name, now=now, judge=judge
        )
    return sum(
        derive_again(project=project, comparison_ids=comparison_ids, criterion=criterion, now=now)
        for criterion in ("", *project.known_criteria)
    )


def derive_again(
    *,
    project: Project,
    comparison_ids: Sequence[int] | None,
    criterion: str,
    now: datetime,
    judge: Judge | None = None,
) -> int:
    """Write the effective labels by one criterion, as `preferences_derive` does by all of them."""
    if judge is None:
        judge = label_judge(project, criterion)
    rows: QuerySet[Comparison] = Comparison.objects.filter(ready(), project=project)
    if comparison_ids is None:
        wanted = list(rows.order_by("id").values_list("id", flat=True))
    else:
        wanted = sorted(set(comparison_ids))
    return sum(_derive_chunk(rows, ids, judge, criterion, now) for ids in chunks(wanted, CHUNK))


@transaction.atomic
def _derive_chunk(
    rows: QuerySet[Comparison], ids: Sequence[int], judge: Judge | None, criterion: str, now: datetime
) -> int:
    # Locked in one order: two people voting on one comparison each see the other's vote, and never wait in a circle.
    ours = list(
        rows.filter(among("id", ids), comparable())
        .select_for_update(no_key=True, of=("self",))
        .order_by("id")
        .values_list("id", flat=True)
    )
    labels = labels_derived(ours, judge, criterion=criterion)
    there = preferences(criterion).filter(among("comparison_id", ours))
    before = {row.comparison_id: row for row in there}
    new = [
        (key, criterion, label.outcome, label.p_first, label.source, list(label.label_ids), now)
        for key, label in labels.items()
        if key not in before
    ]
    changed = [
        _row(key, criterion, label, now)
        for key, label in labels.items()
        if key in before and not _says(before[key], label)
    ]
    gone = [key for key in before if key not in labels]
    rows_insert(Preference, _PREFERENCE, new)  # nobody else makes them: the comparisons are locked
    _preferences_write(changed)
    if gone:
        preferences(criterion).filter(comparison_id__in=gone).delete()
    return len(new) + len(changed) + len(gone)


def _preferences_write(rows: list[Preference]) -> None:
    Preference.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["comparison", "criterion"],
        update_fields=["outcome", "p_first", "source", "label_ids", "derived_at"],
    )


def _row(comparison_id: int, criterion: str, label: Label, now: datetime) -> Preference:
    return Preference(
        comparison_id=comparison_id,
        criterion=criterion,
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
