"""The queue of blind votes: what a person holds, how many comparisons are left for them, and what they said last."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.dateparse import parse_datetime

from apps.accounts.models import User
from apps.labels.models import PairFlag, Vote
from apps.labels.selectors import counting_votes, last_standing, standing_votes
from apps.projects.models import Project
from apps.rankings.gold import Mixing, Turns
from apps.rankings.models import FREE, GOLD, OPEN, Assignment, Place
from apps.samples.exposure import seen_among, unseen_by
from apps.samples.models import Comparison
from prefloop.types import ANSWERS

N_HISTORY = 10  # decisions that can be taken back
_PAUSE = 180.0  # seconds; a longer gap between two votes was a pause, not work


def open_assignments(*, project: Project, user: User) -> QuerySet[Assignment]:
    """This person's assignments, the one to answer first at the head, with all that a page needs."""
    on_this = Q(comparison=OuterRef("comparison"))
    return (
        Assignment.objects.filter(unseen_by(user, "comparison"), project=project, user=user, state=OPEN)
        .annotate(is_flagged=Exists(PairFlag.objects.filter(on_this, user=user, resolved_at=None)))
        .select_related("comparison__prompt", "comparison__first", "comparison__second", "project")
        .defer("comparison__first__token_ids", "comparison__second__token_ids")
        .order_by("id")
    )


def held(project: Project) -> QuerySet[Assignment]:
    """The seats of a project that somebody holds: a few for each person at work."""
    # the condition of the index in the words of the index: SQLite does not recognise it in a parameter
    return Assignment.objects.filter(project=project).extra(where=["rankings_assignment.state = 'open'"])


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
    mine, shared = _places(project, user)
    return _progress(mine, _left(mine, shared, project=project, user=user, now=now))


def progress_from(*, project: Project, mine: Place, shared: Place, n_held: int) -> Progress:
    """Return a person's progress from what is at hand; the leases of others that ran out are not looked for."""
    numbers = {"n_open": shared.n_open, "n_gold": shared.n_gold, "n_held": n_held}
    n_gold = mixing(project, mine, **numbers).n_left
    return _progress(mine, shared.n_open - mine.n_blocked + n_held + n_gold)


def mixing(project: Project, mine: Place, *, n_open: int, n_gold: int, n_held: int) -> Mixing:
    """Say how gold is mixed in for a person: `n_open` and `n_gold` are the project's, `n_held` their own."""
    turns = Turns(project.pk, mine.user_id or 0, project.gold_share)
    return Mixing(turns, mine.n_done + n_held, n_open - mine.n_blocked, n_gold - mine.n_gold)


def _progress(mine: Place, left: int) -> Progress:
    return Progress(mine.n_done, mine.n_done + left, _minutes(mine.recent, left))


def _minutes(recent: Sequence[Any], left: int) -> int | None:
    paces: list[float] = [seconds for seconds, _ in recent if seconds]
    if len(paces) < 3:
        moments = [moment for _, at in recent if (moment := parse_datetime(at)) is not None]
        gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(moments)]
        paces = [gap for gap in gaps if 0 < gap < _PAUSE]
    if len(paces) < 3 or not left:
        return None
    return max(1, round(statistics.median(paces) * left / 60))


def history(*, project: Project, user: User) -> list[Vote]:
    """The person's last current decisions, latest first: those that can still be undone."""
    # the project by a condition rather than a join, which could begin with all of its comparisons
    here = Exists(Comparison.objects.filter(pk=OuterRef("comparison"), project=project))
    rows = Vote.objects.filter(here, user=user, assignment__isnull=False, adjudication=False)
    return last_standing(rows.select_related("comparison__prompt", "assignment", "ranking"), N_HISTORY, said="choice")


def n_wanting(*, project: Project, user: User, now: datetime) -> int:
    """How many comparisons this person may get now, blind: the number beside “Annotate” in the rail.

    Left out are those they voted on or skipped, those they saw a label of, those on which others have enough votes or
    leases, pairs of equal answers, and those of evaluations for judges only.
    """
    mine, shared = _places(project, user)
    return _left(mine, shared, project=project, user=user, now=now)


def _places(project: Project, user: User) -> tuple[Place, Place]:
    rows = {row.user_id: row for row in Place.objects.filter(Q(user=user) | Q(user=None), project=project)}
    return rows.get(user.pk, Place(project=project, user=user)), rows.get(None, Place(project=project))


def _left(mine: Place, shared: Place, *, project: Project, user: User, now: datetime) -> int:
    rows = (
        held(project)
        .filter(Q(user=user) | Q(lease_until__lt=now))
        .values_list("user_id", "priority", "comparison_id", "criterion")
    )
    seats = list(rows)
    own = {(comparison, criterion) for holder, _, comparison, criterion in seats if holder == user.pk}
    # the places of leases that ran out are let again to whoever asks for work: few, and most often none
    late = {(key, name) for holder, lane, key, name in seats if holder != user.pk and lane != GOLD} - own
    if late:
        late = _let_again(late, project=project, user=user, now=now)
    mixed = mixing(project, mine, n_open=shared.n_open + len(late), n_gold=shared.n_gold, n_held=len(own))
    return mixed.n_ordinary + mixed.n_left + len(own)


def _let_again(late: set[tuple[int, str]], *, project: Project, user: User, now: datetime) -> set[tuple[int, str]]:
    """Those of the comparisons (with a criterion) under leases that ran out on which this person's vote is wanted."""
    here = Q(comparison__in={comparison for comparison, _ in late})
    late = late - set(Assignment.objects.filter(here, state=FREE).values_list("comparison_id", "criterion"))
    late -= set(standing_votes(None).filter(here, user=user).values_list("comparison_id", "criterion"))
    taken = Counter(counting_votes(None).filter(here, choice__in=ANSWERS).values_list("comparison_id", "criterion"))
    on_time = Assignment.objects.filter(here, state=OPEN, lease_until__gte=now)
    taken.update(on_time.values_list("comparison_id", "criterion"))
    seen = seen_among(user=user, comparison_ids={comparison for comparison, _ in late})
    wanted = project.votes_per_comparison
    return {question for question in late if question[0] not in seen and taken[question] < wanted}
