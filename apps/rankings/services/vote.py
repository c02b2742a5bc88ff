"""Blind votes: appended, never edited; sending one twice stores it once; the last ten can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from apps.accounts.models import User
from apps.labels.models import Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import last_vote
from apps.labels.services import vote_append, vote_withdraw
from apps.projects.models import Project
from apps.rankings.models import Assignment
from apps.rankings.selectors.queue import history, with_room
from apps.rankings.services.assign import LEASE
from apps.samples.exposure import has_seen
from apps.samples.models import Comparison
from prefloop.types import PrefloopError

CHOICES = ("left", "right", "tie", "both_bad", "skip")
MAX_REASON = 2000
# Why somebody leaves a pair to others; what people pick, so that it can be counted. A note may follow.
SKIP_REASONS = {
    "knowledge": "I don't know the subject",
    "language": "I don't read this language",
    "broken": "The prompt or an answer is broken",
    "upsetting": "I don't want to read this",
    "guideline": "The guideline does not say",
}
_MAX_SECONDS = 24 * 3600.0


class LeaseLost(PrefloopError):
    """The lease ran out and somebody else got the comparison."""

    http_status = 409


class AlreadyAnswered(PrefloopError):
    """This assignment has another answer already."""

    http_status = 409


class NothingToUndo(PrefloopError):
    """There is no decision of this person among their last ten."""


class BadVote(PrefloopError):
    """An invalid vote."""


@dataclass(frozen=True, slots=True)
class Voted:
    vote: Vote
    created: bool


def vote_create(
    *,
    assignment: Assignment,
    choice: str,
    now: datetime,
    reason: str = "",
    seconds: float | None = None,
    guideline: str | None = None,
    said_at: datetime | None = None,
) -> Voted:
    """Record a person's vote on the pair they were shown, and its consequences.

    `choice` is in terms of the screen. `said_at`: when they voted, if earlier than now (offline); `seconds`: the time
    they looked; `guideline`: the version that was on the screen ("": none), None: the one that was given with the pair.
    Raises LeaseLost if they were shown a label of it meanwhile, or if the lease ran out and somebody else got the
    place, AlreadyAnswered if this assignment has a different answer, and BadVote for an invalid vote.
    """
    if choice not in CHOICES:
        raise BadVote(f"choice must be one of {', '.join(CHOICES)}, not {choice!r}")
    if len(reason) > MAX_REASON:
        raise BadVote(f"a note has at most {MAX_REASON:,} characters")
    outcome = _outcome(choice, assignment.order)
    user = assignment.user
    with transaction.atomic():
        comparison = (
            Comparison.objects.select_for_update(no_key=True, of=("self",))
            .select_related("project")
            .get(pk=assignment.comparison_id)
        )
        assignment = Assignment.objects.get(pk=assignment.pk)
        head = last_vote(comparison, user)
        if assignment.state == "done":
            return Voted(_same_again(head, assignment, outcome), created=False)
        _check_lease(assignment, comparison, user, now)
        if head is not None and head.choice != "withdrawn":
            raise AlreadyAnswered("you have answered this comparison already; undo that first")
        vote = Vote(
            comparison=comparison,
            assignment=assignment,
            user=user,
            rater=rater_name(user, comparison) if head is None else head.rater,
            choice=outcome,
            order=assignment.order,
            at=_when(said_at, now),
            seconds=None if seconds is None else min(max(seconds, 0.0), _MAX_SECONDS),
            guideline=_guideline(comparison.project, assignment, guideline),
            reason=reason.strip(),
            supersedes=head,
        )
        vote_append(vote=vote, now=now)
        Assignment.objects.filter(pk=assignment.pk).update(state="done")
    return Voted(vote, created=True)


def vote_undo(*, project: Project, user: User, now: datetime, assignment: Assignment | None = None) -> Assignment:
    """Undo this person's last vote (or the one of `assignment`) and give the pair back to them, with the same sides.

    A `withdrawn` event is appended, nothing is edited. Repeating it returns the same assignment. Raises NothingToUndo
    if it is not among their last ten.
    """
    last = history(project=project, user=user)
    if assignment is None:
        vote = last[0] if last else None
    else:
        if assignment.state == "open":
            return assignment
        vote = next((vote for vote in last if vote.assignment_id == assignment.pk), None)
    if vote is None or vote.assignment_id is None:
        raise NothingToUndo("there is nothing to undo among your last ten answers")
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=vote.comparison_id)
        if has_seen(comparison_id=vote.comparison_id, user=user):
            raise NothingToUndo("you have been shown a label of it since: a new vote would no longer be blind")
        if last_vote(vote.comparison, user) == vote:
            vote_withdraw(vote=vote, now=now)
            Assignment.objects.filter(pk=vote.assignment_id, state="done").update(state="open", lease_until=now + LEASE)
    return Assignment.objects.select_related("comparison").get(pk=vote.assignment_id)


def _outcome(choice: str, order: str) -> str:
    if choice in {"left", "right"}:
        return "first" if (choice == "left") == (order == "01") else "second"
    return choice


def _same_again(head: Vote | None, assignment: Assignment, outcome: str) -> Vote:
    if head is None or head.assignment_id != assignment.pk or head.choice != outcome:
        raise AlreadyAnswered("this comparison has another answer of yours already; undo that first")
    return head


def _check_lease(assignment: Assignment, comparison: Comparison, user: User, now: datetime) -> None:
    if has_seen(comparison_id=comparison.pk, user=user):
        raise LeaseLost("you have been shown a label of this comparison: a vote would no longer be blind")
    if assignment.state == "open" and assignment.lease_until >= now:
        return
    # It ran out. That alone loses nothing: the vote counts unless somebody else was given the place meanwhile.
    if not with_room(Comparison.objects.filter(pk=comparison.pk), user=user, now=now).exists():
        raise LeaseLost("your time for this comparison ran out, and it was given to somebody else")


def _when(said_at: datetime | None, now: datetime) -> datetime:
    """A client's time is accepted if it is in the last week, but not in the future or the distant past."""
    if said_at is None or not now - timedelta(days=7) <= said_at <= now:
        return now
    return said_at


def _guideline(project: Project, assignment: Assignment, shown: str | None) -> str:
    """The version that the person read, which need not be the current one. Raises BadVote for an unknown one."""
    if shown is None:
        return assignment.guideline
    if shown and shown not in {guideline.name for guideline in project.guidelines.only("version")}:
        raise BadVote(f"this project has no guideline {shown!r}")
    return shown
