"""Blind votes: appended, never edited; sending one twice stores it once; the last ten can be undone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from django.db import IntegrityError, connection, transaction

from apps.accounts.models import User
from apps.labels.models import Exclusion, Override, ReviewItem, Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import last_vote
from apps.labels.services import first_vote_append, vote_append, vote_withdraw
from apps.labels.telling import told
from apps.projects.models import Project
from apps.projects.selectors import guideline_asks_strength, guideline_name
from apps.rankings.models import DONE, OPEN, Assignment, Place
from apps.rankings.selectors.queue import history
from apps.rankings.services.counts import Answer, counted, place_of, places_change
from apps.rankings.services.seats import leases_sweep, seats_fill
from apps.rankings.services.take import LEASE, Taken, asking, seat_take, seat_take_within
from apps.samples.exposure import has_seen
from apps.samples.locks import comparisons_lock
from apps.samples.models import Exposure
from prefloop.types import SKIPPED, STRENGTHS, UNLABELLED, PrefloopError

CHOICES = ("left", "right", "tie", "both_bad", *UNLABELLED)
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
    strength: str = "",
    seconds: float | None = None,
    guideline: str | None = None,
    said_at: datetime | None = None,
) -> Voted:
    """Record a person's vote on the pair they were shown, and its consequences.

    `choice` is in terms of the screen. `strength`: how much better the chosen answer is, where the guideline asks.
    `said_at`: when they voted, if earlier than now (offline); `seconds`: the time they looked; `guideline`: the
    version that was on the screen ("": none), None: the one that was given with the pair.
    Raises LeaseLost if they were shown a label of it meanwhile, or if the lease ran out and somebody else got the
    place, AlreadyAnswered if this assignment has a different answer, and BadVote for an invalid vote.
    """
    _check(choice, reason, strength)
    said = _Said(assignment, _outcome(choice, assignment.order), now, reason, strength, seconds, guideline, said_at)
    place = assignment.place or place_of(assignment.project, assignment.holder)
    with transaction.atomic():
        voted, answer = _append(said, place)
        if answer is not None:
            places_change(place, answer=answer)
    return voted


def vote_and_next(
    *,
    assignment: Assignment,
    choice: str,
    now: datetime,
    rng: Random,
    reason: str = "",
    strength: str = "",
    seconds: float | None = None,
    guideline: str | None = None,
    said_at: datetime | None = None,
) -> tuple[Voted, Taken | None]:
    """Record a vote, as `vote_create` does, and lease one more pair to the same person, in one transaction.

    A vote that was stored before is returned without another pair.
    """
    _check(choice, reason, strength)
    said = _Said(assignment, _outcome(choice, assignment.order), now, reason, strength, seconds, guideline, said_at)
    project, user = assignment.project, assignment.holder
    name = guideline_name(project) if assignment.guideline_now is None else assignment.guideline_now
    asked = asking(project=project, user=user, now=now, rng=rng, guideline=name, place=assignment.place)
    try:
        with transaction.atomic():
            voted, answer = _append(said, asked.place)
            taken = seat_take_within(asked, answer) if voted.created else None
            if taken is None and answer is not None:
                places_change(asked.place, answer=answer)
    except IntegrityError:  # another tab of theirs was given a seat of the same comparison: the vote comes first
        voted = vote_create(
            assignment=assignment,
            choice=choice,
            now=now,
            reason=reason,
            strength=strength,
            seconds=seconds,
            guideline=guideline,
            said_at=said_at,
        )
        taken = None
    if taken is None and voted.created:
        leases_sweep(project=project, now=now, but_of=user.pk)
        taken = seat_take(replace(asked, place=place_of(project, user)))
    return voted, taken


@dataclass(frozen=True, slots=True)
class _Said:
    assignment: Assignment
    outcome: str  # canonical, or one of UNLABELLED
    now: datetime
    reason: str
    strength: str
    seconds: float | None
    guideline: str | None
    said_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Finished:
    """A seat that was finished. `alone`: its comparison has no other vote and no override; `judged`: Review has it;
    `excluded`: somebody of this name is.
    """

    alone: bool = False
    judged: bool = True
    excluded: bool = False


def _check(choice: str, reason: str, strength: str) -> None:
    if choice not in CHOICES:
        raise BadVote(f"choice must be one of {', '.join(CHOICES)}, not {choice!r}")
    if len(reason) > MAX_REASON:
        raise BadVote(f"a note has at most {MAX_REASON:,} characters")
    if strength and strength not in STRENGTHS:
        raise BadVote(f"strength must be one of {', '.join(STRENGTHS)}, not {strength!r}")
    if strength and choice not in {"left", "right"}:
        raise BadVote(f"only a better answer has a strength, not {choice!r}")


def _append(said: _Said, place: Place) -> tuple[Voted, Answer | None]:
    """Finish the seat and write the vote. With it comes what the person's place has to remember."""
    given, key = said.assignment, said.assignment.comparison_id
    comparisons_lock([key])
    skips = said.outcome == SKIPPED
    if not skips and (found := _finish(given, place)) is not None:
        written = _written(said, place, found)
        if found.excluded:  # it counts for nobody: somebody else is asked
            with counted(given.project_id, [key]):
                seats_fill(given.project_id, [key])
        return written
    with counted(given.project_id, [key]):
        if not skips or _finish(given, place) is None:
            held = Assignment.objects.get(pk=given.pk)
            if held.state == DONE:
                again = _same_again(last_vote(given.comparison, given.holder), held, said.outcome, said.strength)
                return Voted(again, created=False), None
            _take_back(held, said_when(said.said_at, said.now))
        voted, answer = _written(said, place, _Finished())
        seats_fill(given.project_id, [key])  # that of a skip is somebody else's, now
    return voted, replace(answer, counts=False)


def _written(said: _Said, place: Place, found: _Finished) -> tuple[Voted, Answer]:
    """Write the vote; the label of one that is alone follows from it."""
    given, user, alone = said.assignment, said.assignment.holder, found.alone
    head = None if alone else last_vote(given.comparison, user)
    if head is not None and head.choice != "withdrawn":
        raise AlreadyAnswered("you have answered this comparison already; undo that first")
    rater = place.rater if alone else head.rater if head is not None else ""
    guideline = _guideline(given.project, given, said.guideline)
    vote = Vote(
        comparison_id=given.comparison_id,
        assignment=given,
        user=user,
        rater=rater or rater_name(user, given.comparison),
        choice=said.outcome,
        strength=_strength(given, guideline, said.strength),
        order=given.order,
        at=said_when(said.said_at, said.now),
        seconds=None if said.seconds is None else min(max(said.seconds, 0.0), _MAX_SECONDS),
        guideline=guideline,
        reason=said.reason.strip(),
        by_chance=given.by_chance,
        supersedes=head,
    )
    if alone:
        first_vote_append(vote=vote, now=said.now, judged=found.judged)
    else:
        vote_append(vote=vote, now=said.now)
    told("vote.created", given.project, vote)
    return Voted(vote, created=True), Answer(vote.rater, vote.seconds, vote.at or said.now)


def _finish(given: Assignment, place: Place) -> _Finished | None:
    """Finish a held seat by one conditional statement; None if it is not held, or its holder may not vote blind."""
    quote = connection.ops.quote_name
    models = (Assignment, Vote, Override, Exposure, Exclusion, ReviewItem)
    seats, votes, overrides, exposures, exclusions, reviews = (quote(model._meta.db_table) for model in models)
    statement = (
        f"UPDATE {seats} SET state = 'done' WHERE id = %s AND state = 'open' AND NOT EXISTS "  # noqa: S608 - no value is in it
        f"(SELECT 1 FROM {exposures} e WHERE e.user_id = %s AND e.comparison_id = %s) RETURNING "
        f"NOT EXISTS (SELECT 1 FROM {votes} v WHERE v.comparison_id = %s) "
        f"AND NOT EXISTS (SELECT 1 FROM {overrides} o WHERE o.comparison_id = %s), "
        f"EXISTS (SELECT 1 FROM {reviews} r WHERE r.comparison_id = %s), "
        f"EXISTS (SELECT 1 FROM {exclusions} x WHERE x.project_id = %s AND x.rater = %s AND x.lifted_at IS NULL)"
    )
    key = given.comparison_id
    with connection.cursor() as cursor:
        cursor.execute(statement, [given.pk, given.user_id, key, key, key, key, given.project_id, place.rater])
        found = cursor.fetchone()
    if found is None:
        return None
    alone, judged, excluded = map(bool, found)
    return _Finished(alone and not excluded, judged, excluded)


def _take_back(late: Assignment, said_at: datetime) -> None:
    """Give an ended lease its seat back, if nobody else was given it meanwhile, or if the person answered in time and
    only their answer came late: then it is one more than was wanted. Raises LeaseLost.
    """
    if has_seen(comparison_id=late.comparison_id, user=late.holder):
        raise LeaseLost("you have been shown a label of this comparison: a vote would no longer be blind")
    for seat in Assignment.objects.filter(comparison=late.comparison_id, user=None).values_list("pk", flat=True):
        if Assignment.objects.filter(pk=seat, user=None).delete()[0]:
            Assignment.objects.filter(pk=late.pk).update(state=DONE)
            return
    if late.lease_until is not None and said_at <= late.lease_until:
        Assignment.objects.filter(pk=late.pk).update(state=DONE)
        return
    raise LeaseLost("your time for this comparison ran out, and it was given to somebody else")


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
    with counted(project.pk, [vote.comparison_id]):
        if has_seen(comparison_id=vote.comparison_id, user=user):
            raise NothingToUndo("you have been shown a label of it since: a new vote would no longer be blind")
        if last_vote(vote.comparison, user) == vote:
            vote_withdraw(vote=vote, now=now)
            told("vote.withdrawn", project, vote)
            Assignment.objects.filter(pk=vote.assignment_id, state=DONE).update(state=OPEN, lease_until=now + LEASE)
            seats_fill(project.pk, [vote.comparison_id])  # the place that a skip had left
    return Assignment.objects.select_related("comparison").get(pk=vote.assignment_id)


def _outcome(choice: str, order: str) -> str:
    if choice in {"left", "right"}:
        return "first" if (choice == "left") == (order == "01") else "second"
    return choice


def _same_again(head: Vote | None, assignment: Assignment, outcome: str, strength: str) -> Vote:
    same = head is not None and (head.choice, head.strength) == (outcome, strength)
    if head is None or head.assignment_id != assignment.pk or not same:
        raise AlreadyAnswered("this comparison has another answer of yours already; undo that first")
    return head


def said_when(said_at: datetime | None, now: datetime) -> datetime:
    """A client's time is accepted if it is in the last week, but not in the future or the distant past."""
    if said_at is None or not now - timedelta(days=7) <= said_at <= now:
        return now
    return said_at


def _guideline(project: Project, assignment: Assignment, shown: str | None) -> str:
    """The version that the person read, which need not be the current one. Raises BadVote for an unknown one."""
    if shown is None or shown == assignment.guideline:
        return assignment.guideline
    if shown and shown not in {guideline.name for guideline in project.guidelines.only("version")}:
        raise BadVote(f"this project has no guideline {shown!r}")
    return shown


def _strength(assignment: Assignment, guideline: str, strength: str) -> str:
    """What the person said of how much better the answer is. Raises BadVote if their guideline did not ask."""
    if strength and guideline != assignment.guideline_now:
        asks = guideline_asks_strength(assignment.project, guideline)
    else:
        asks = assignment.strength_now
    if strength and not asks:
        raise BadVote(f"the guideline {guideline or '(none)'} does not ask how much better an answer is")
    return strength
