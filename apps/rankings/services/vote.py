"""Blind votes: appended, never edited; sending one twice stores it once; the last ten can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random, SystemRandom

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop

from apps.accounts.models import User
from apps.labels.models import Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import last_vote
from apps.labels.services import first_vote_append, vote_append, vote_withdraw
from apps.labels.telling import told
from apps.projects.models import Project
from apps.projects.selectors import Asks, guideline_asks, guideline_name, task_of
from apps.rankings.models import DONE, OPEN, Assignment, Place
from apps.rankings.selectors.queue import history, mixing
from apps.rankings.selectors.stops import may_get
from apps.rankings.services.counts import Answer, counted, place_of, places_change
from apps.rankings.services.finish import AlreadyAnswered, Finished, said_when, seat_finish, seat_take_back
from apps.rankings.services.marks import marks_kept
from apps.rankings.services.seats import seats_fill
from apps.rankings.services.sets import sets_lay_out, task_now
from apps.rankings.services.take import LEASE, Taken, asking, seat_take_late, seat_take_within
from apps.samples.exposure import has_seen
from apps.samples.locks import comparisons_lock
from prefloop.marks import Mark, marks_loaded
from prefloop.types import SKIPPED, STRENGTHS, UNLABELLED, PrefloopError

CHOICES = ("left", "right", "tie", "both_bad", *UNLABELLED)
MAX_REASON = 2000
# Why somebody leaves a pair to others; what people pick, so that it can be counted. A note may follow.
SKIP_REASONS = {
    "knowledge": gettext_noop("I don't know the subject"),
    "language": gettext_noop("I don't read this language"),
    "broken": gettext_noop("The prompt or an answer is broken"),
    "upsetting": gettext_noop("I don't want to read this"),
    "guideline": gettext_noop("The guideline does not say"),
}
MAX_SECONDS = 24 * 3600.0


class NothingToUndo(PrefloopError):
    """There is no decision of this person among their last ten."""


class BadVote(PrefloopError):
    """An invalid vote."""


@dataclass(frozen=True, slots=True)
class Voted:
    vote: Vote
    created: bool


@dataclass(frozen=True, slots=True)
class _Said:
    assignment: Assignment
    outcome: str  # canonical, or one of UNLABELLED
    now: datetime
    reason: str
    strength: str
    reasons: tuple[str, ...]
    marks: tuple[Mark, ...]
    seconds: float | None
    guideline: str | None
    said_at: datetime | None


def vote_create(
    *,
    assignment: Assignment,
    choice: str,
    now: datetime,
    reason: str = "",
    strength: str = "",
    reasons: Sequence[str] = (),
    marks: Sequence[Mark] = (),
    seconds: float | None = None,
    guideline: str | None = None,
    said_at: datetime | None = None,
) -> Voted:
    """Record a person's vote on the pair they were shown, and its consequences.

    `choice` is in terms of the screen. `strength`: how much better the chosen answer is, where the guideline asks;
    `reasons`: short ones of its list; `marks`: passages of both answers, where it asks for them.
    `said_at`: when they voted, if earlier than now (offline); `seconds`: the time they looked; `guideline`: the
    version that was on the screen ("": none), None: the one that was given with the pair.
    An answer after the lease has ended is kept, also where somebody else has the pair now.
    Raises LeaseLost if they were shown a label of it meanwhile, AlreadyAnswered if this assignment has a different
    answer, and BadVote or BadMark for an invalid vote.
    """
    _check(choice, reason, strength)
    outcome = _outcome(choice, assignment.order)
    return _create(
        _Said(assignment, outcome, now, reason, strength, tuple(reasons), tuple(marks), seconds, guideline, said_at)
    )


def _create(said: _Said) -> Voted:
    assignment = said.assignment
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
    reasons: Sequence[str] = (),
    marks: Sequence[Mark] = (),
    seconds: float | None = None,
    guideline: str | None = None,
    said_at: datetime | None = None,
) -> tuple[Voted, Taken | None]:
    """Record a vote, as `vote_create` does, and lease one more pair to the same person, in one transaction.

    A vote that was stored before is returned without another pair.
    """
    _check(choice, reason, strength)
    outcome = _outcome(choice, assignment.order)
    said = _Said(assignment, outcome, now, reason, strength, tuple(reasons), tuple(marks), seconds, guideline, said_at)
    project, user = assignment.project, assignment.holder
    name = guideline_name(project) if assignment.guideline_now is None else assignment.guideline_now
    gold = False
    if assignment.place is not None and assignment.n_open_now is not None and project.gold_share:
        numbers = {"n_open": assignment.n_open_now, "n_gold": assignment.n_gold_now, "n_held": assignment.n_held_now}
        gold = mixing(project, assignment.place, **numbers).is_due
    asked = asking(project=project, user=user, now=now, rng=rng, guideline=name, place=assignment.place, gold=gold)
    gives = may_get(project, user, asked.place)
    try:
        with transaction.atomic():
            voted, answer = _append(said, asked.place)
            taken = seat_take_within(asked, answer) if voted.created and gives else None
            if taken is None and answer is not None:
                places_change(asked.place, answer=answer)
    except IntegrityError:  # another tab of theirs was given a seat of the same comparison: the vote comes first
        voted = _create(said)
        taken = None
    if taken is None and voted.created and gives:
        taken = seat_take_late(asked)
    if taken is not None:
        sets_lay_out([taken.assignment], task_now(assignment), rng)
    return voted, taken


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
    if not skips and (found := seat_finish(given, place)) is not None:
        written = _written(said, place, found)
        if found.excluded:  # it counts for nobody: somebody else is asked
            with counted(given.project_id, [key]):
                seats_fill(given.project_id, [key])
        return written
    with counted(given.project_id, [key]):
        if not skips or seat_finish(given, place) is None:
            held = Assignment.objects.get(pk=given.pk)
            if held.state == DONE:
                last = last_vote(given.comparison, given.holder, given.criterion)
                again = _same_again(last, held, said)
                return Voted(again, created=False), None
            seat_take_back(held)
        voted, answer = _written(said, place, Finished())
        seats_fill(given.project_id, [key])  # that of a skip is somebody else's, now
    return voted, replace(answer, counts=False)


def _written(said: _Said, place: Place, found: Finished) -> tuple[Voted, Answer]:
    """Write the vote; the label of one that is alone follows from it."""
    given, user, alone = said.assignment, said.assignment.holder, found.alone
    head = None if alone else last_vote(given.comparison, user, given.criterion)
    if head is not None and head.choice != "withdrawn":
        raise AlreadyAnswered("you have answered this comparison already; undo that first")
    rater = place.rater if alone else head.rater if head is not None else ""
    guideline = guideline_read(given, said.guideline)
    if given.shown is not None and said.outcome not in UNLABELLED and task_of(given.project, guideline).of_sets:
        raise BadVote("this is a set of answers: rank them, or skip the set")
    asks = _asks(given, guideline) if said.strength or said.reasons or said.marks else Asks()
    vote = Vote(
        comparison_id=given.comparison_id,
        assignment=given,
        user=user,
        rater=rater or rater_name(user, given.comparison),
        criterion=given.criterion,
        choice=said.outcome,
        strength=_strength(asks, guideline, said.strength),
        order=given.order,
        at=said_when(said.said_at, said.now),
        seconds=None if said.seconds is None else min(max(said.seconds, 0.0), MAX_SECONDS),
        guideline=guideline,
        reason=said.reason.strip(),
        reasons=_reasons(asks, guideline, said.reasons),
        marks=marks_kept(given, asks, guideline, said.marks),
        by_chance=given.by_chance,
        supersedes=head,
    )
    if alone:
        first_vote_append(vote=vote, now=said.now, judged=found.judged)
    else:
        vote_append(vote=vote, now=said.now)
    told("vote.created", given.project, vote)
    return Voted(vote, created=True), Answer(vote.rater, vote.seconds, vote.at or said.now, vote.choice != SKIPPED)


def vote_undo(*, project: Project, user: User, now: datetime, assignment: Assignment | None = None) -> Assignment:
    """Undo this person's last vote (or the one of `assignment`) and give the pair back to them, with the same sides.

    A `withdrawn` event is appended, nothing is edited; with a ranking, to each of its votes. Repeating it returns the
    same assignment. Raises NothingToUndo if it is not among their last ten.
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
    together = _said_of_one_set(vote)
    with counted(project.pk, [one.comparison_id for one in together]):
        if has_seen(comparison_id=vote.comparison_id, user=user):
            raise NothingToUndo("you have been shown a label of it since: a new vote would no longer be blind")
        if last_vote(vote.comparison, user, vote.criterion) == vote:
            for one in together:
                vote_withdraw(vote=one, now=now)
                told("vote.withdrawn", project, one)
            Assignment.objects.filter(pk=vote.assignment_id, state=DONE).update(state=OPEN, lease_until=now + LEASE)
            seats_fill(project.pk, [vote.comparison_id])  # the place that a skip had left
    back = Assignment.objects.select_related("comparison", "project").get(pk=vote.assignment_id)
    sets_lay_out([back], task_now(back), SystemRandom())
    return back


def _said_of_one_set(vote: Vote) -> list[Vote]:
    """The votes that were given with this one, by a ranking, and still stand; else this one alone."""
    if vote.ranking_id is None:
        return [vote]
    together = Vote.objects.filter(ranking=vote.ranking_id, superseded_by__isnull=True).exclude(choice="withdrawn")
    return list(together.select_related("comparison").order_by("comparison"))


def _outcome(choice: str, order: str) -> str:
    if choice in {"left", "right"}:
        return "first" if (choice == "left") == (order == "01") else "second"
    return choice


def _same_again(head: Vote | None, assignment: Assignment, said: _Said) -> Vote:
    whole = (said.outcome, said.strength, set(said.reasons), set(said.marks))
    same = head is not None and (head.choice, head.strength, set(head.reasons), set(marks_loaded(head.marks))) == whole
    if head is None or head.assignment_id != assignment.pk or not same:
        raise AlreadyAnswered("this comparison has another answer of yours already; undo that first")
    return head


def guideline_read(assignment: Assignment, shown: str | None) -> str:
    """The version that the person read, which need not be the current one. Raises BadVote for an unknown one."""
    if shown is None or shown == assignment.guideline:
        return assignment.guideline
    if shown and shown not in {guideline.name for guideline in assignment.project.guidelines.only("version")}:
        raise BadVote(f"this project has no guideline {shown!r}")
    return shown


def _asks(assignment: Assignment, guideline: str) -> Asks:
    """What the version that the person read asks beside the answer."""
    if guideline == assignment.guideline_now:
        return assignment.asks_now
    return guideline_asks(assignment.project, guideline)


def _strength(asks: Asks, guideline: str, strength: str) -> str:
    """What the person said of how much better the answer is. Raises BadVote if their guideline did not ask."""
    if strength and not asks.strength:
        raise BadVote(f"the guideline {guideline or '(none)'} does not ask how much better an answer is")
    return strength


def reasons_said(assignment: Assignment, guideline: str, reasons: Sequence[str]) -> list[str]:
    """The short reasons that the person chose, by the version that they read. Raises BadVote for an unknown one."""
    return _reasons(_asks(assignment, guideline), guideline, reasons) if reasons else []


def _reasons(asks: Asks, guideline: str, reasons: Sequence[str]) -> list[str]:
    """The short reasons that the person chose, in the guideline's order. Raises BadVote for one that it has not."""
    unknown = sorted(set(reasons) - set(asks.reasons))
    if unknown:
        known = f"it has {', '.join(asks.reasons)}" if asks.reasons else "it has none"
        raise BadVote(f"the guideline {guideline or '(none)'} has no short reason {unknown[0][:60]!r}; {known}")
    return [reason for reason in asks.reasons if reason in reasons]
