"""The queue of blind votes: which comparisons are left for whom."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.models import Vote
from apps.labels.selectors import standing_votes
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import Assignment
from apps.samples.exposure import held_blind, unseen_by
from apps.samples.models import Comparison, Exposure, annotatable
from prefloop.types import OUTCOMES

_CHUNK = 500
N_HISTORY = 10  # decisions that can be taken back
_PAUSE = 180.0  # seconds; a longer gap between two votes was a pause, not work


def wanting_votes(*, project: Project, user: User, now: datetime) -> QuerySet[Comparison]:
    """Comparisons that this person may get now, blind, in the order in which they are given.

    Left out: those they voted on or skipped, those they saw a label of, those on which others have enough votes or
    leases, pairs of equal answers, and those of evaluations for judges only. Judges, gold and models affect neither
    choice nor order.
    """
    mine = standing_votes().filter(comparison=OuterRef("pk"), user=user)
    return with_room(Comparison.objects.filter(ready(), annotatable(), project=project), user=user, now=now).filter(
        ~Exists(mine), unseen_by(user)
    )


def with_room(rows: QuerySet[Comparison], *, user: User, now: datetime) -> QuerySet[Comparison]:
    """Those of `rows` that need one more vote, given the votes and leases of others."""
    here = Q(comparison=OuterRef("pk"))
    said = standing_votes().filter(here, choice__in=OUTCOMES).exclude(user=user)
    held = Assignment.objects.filter(here, held_blind(), state="open", lease_until__gte=now).exclude(user=user)
    return (
        rows.annotate(n_taken=_count(said) + _count(held))
        .filter(n_taken__lt=F("project__votes_per_comparison"))
        .order_by("id")
    )


def _count(rows: QuerySet[Vote] | QuerySet[Assignment]) -> Coalesce:
    counted = rows.order_by().values("comparison").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


def open_assignments(*, project: Project, user: User) -> QuerySet[Assignment]:
    """This person's assignments, the one to answer first at the head, with all that a page needs."""
    return (
        Assignment.objects.filter(unseen_by(user, "comparison"), project=project, user=user, state="open")
        .select_related("comparison__prompt", "comparison__first", "comparison__second", "project")
        .defer("comparison__first__token_ids", "comparison__second__token_ids")
        .order_by("id")
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` by this person; `minutes_left` at their own pace, None if unknown."""

    done: int
    total: int
    minutes_left: int | None

    @property
    def left(self) -> int:
        return self.total - self.done


def progress(*, project: Project, user: User, now: datetime) -> Progress:
    """Return a person's progress. Their pace is the median over their last 20 votes."""
    mine = Vote.objects.filter(comparison__project=project, user=user)
    done = standing_votes().filter(comparison__project=project, user=user).count()
    left = wanting_votes(project=project, user=user, now=now).count()
    return Progress(done, done + left, _minutes(mine, left))


def _minutes(mine: QuerySet[Vote], left: int) -> int | None:
    last = list(mine.order_by("-id").values_list("seconds", "at")[:20])
    paces = [seconds for seconds, _ in last if seconds]
    if len(paces) < 3:
        moments = [at for _, at in last if at is not None]
        gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(moments)]
        paces = [gap for gap in gaps if 0 < gap < _PAUSE]
    if len(paces) < 3 or not left:
        return None
    return max(1, round(statistics.median(paces) * left / 60))


def history(*, project: Project, user: User) -> list[Vote]:
    """The person's last current decisions, latest first: those that can still be undone."""
    rows = standing_votes().filter(comparison__project=project, user=user, assignment__isnull=False)
    return list(rows.select_related("comparison__prompt", "assignment").order_by("-id")[:N_HISTORY])


def n_wanting(*, project: Project, user: User, now: datetime) -> int:
    """The number beside “Annotate” in the rail: how many comparisons `wanting_votes` gives, computed from the excluded
    ones.

    Every page of the project needs it. Counting reads the votes once, while the queue looks up each pair.
    """
    here = Q(ready("comparison__"), annotatable("comparison__"), comparison__project=project)
    there = Comparison.objects.filter(ready(), annotatable(), project=project)
    if Exposure.objects.filter(user=user, comparison__project=project).exists():
        here, there = Q(here, unseen_by(user, "comparison")), there.filter(unseen_by(user))
    replaced = Vote.objects.filter(supersedes__isnull=False).values("supersedes")
    others = Q(choice__in=OUTCOMES) & (Q(user=None) | ~Q(user=user))
    closed = (
        Vote.objects.filter(here)
        .exclude(Q(choice="withdrawn") | Q(pk__in=replaced))
        .order_by()
        .values("comparison")
        .annotate(n_others=Count("id", filter=others), n_mine=Count("id", filter=Q(user=user)))
        .filter(Q(n_others__gte=project.votes_per_comparison) | Q(n_mine__gt=0))
    )
    n = there.count() - closed.count()
    # where others' leases may close a pair, few pairs, the queue itself is asked
    leased = Assignment.objects.filter(project=project, state="open", lease_until__gte=now).exclude(user=user)
    for ids in chunks(sorted(set(leased.values_list("comparison_id", flat=True))), _CHUNK):
        open_by_votes = there.filter(pk__in=ids).count() - closed.filter(comparison__in=ids).count()
        n += wanting_votes(project=project, user=user, now=now).filter(pk__in=ids).count() - open_by_votes
    return n
