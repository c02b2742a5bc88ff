"""Rankings of sets of answers: each is stored once, with a vote on every one of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from django.db import transaction

from apps.labels.models import Ranking, Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import heads_of
from apps.labels.services import ranking_append
from apps.labels.telling import told
from apps.projects.selectors import guideline_name, task_of
from apps.rankings.models import DONE, Assignment
from apps.rankings.selectors.stops import may_get
from apps.rankings.services.counts import Answer, counted, place_of, places_change
from apps.rankings.services.finish import AlreadyAnswered, said_when, seat_finish, seat_take_back
from apps.rankings.services.seats import seats_fill
from apps.rankings.services.sets import sets_lay_out, task_now
from apps.rankings.services.take import Taken, asking, seat_take_late
from apps.rankings.services.vote import MAX_REASON, MAX_SECONDS, BadVote, guideline_read, reasons_said
from apps.samples.models import Comparison
from prefloop.records import ranked_pairs
from prefloop.tasks import refusal
from prefloop.types import Outcome

MAX_KEY = 64


@dataclass(frozen=True, slots=True)
class Ranked:
    ranking: Ranking
    created: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """A ranking as it is said: `ranks` are the answers' places (1: the best) in the order shown, equal where tied."""

    ranks: Sequence[int]
    key: str = ""  # made by the client, one for each ranking: the same is stored once, even after it was undone
    reason: str = ""
    reasons: Sequence[str] = ()  # short ones, of those that the guideline has
    seconds: float | None = None
    guideline: str | None = None  # the version that was on the screen; None: the one given with the set
    said_at: datetime | None = None  # when it was said, if earlier than now (offline)


def rank_create(*, assignment: Assignment, said: Answered, now: datetime) -> Ranked:
    """Record a person's ranking of the set they were shown, with a vote on each of its pairs.

    On a pair that they have voted on directly, that vote stays. A ranking after the lease has ended is kept, also where
    somebody else has the set now. Raises LeaseLost if they were shown a label of one of its pairs meanwhile,
    AlreadyAnswered if this assignment has a different answer, and BadVote for an invalid ranking.
    """
    guideline = _check(assignment, said)
    reasons = reasons_said(assignment, guideline, said.reasons)
    shown = list(assignment.shown or ())
    pairs = Comparison.objects.filter(first__in=shown, second__in=shown).order_by("pk")
    comparisons = {(row.first_id, row.second_id): row for row in pairs.select_related("project", "prompt")}
    ids = [row.pk for row in comparisons.values()]
    groups = _groups(shown, said.ranks)
    place = assignment.place or place_of(assignment.project, assignment.holder)
    with transaction.atomic():
        with counted(assignment.project_id, ids):
            known = _known(assignment, said.key)
            if known is not None:
                if known.groups != groups:
                    raise AlreadyAnswered("another ranking was sent under this key")
                return Ranked(known, created=False)
            if seat_finish(assignment, place) is None:
                held = Assignment.objects.get(pk=assignment.pk)
                if held.state == DONE:
                    return Ranked(_same_again(held, groups), created=False)
                seat_take_back(held)
            said = replace(said, reasons=reasons)
            ranking, answer = _written(assignment, said, guideline, groups, comparisons, place.rater, now)
            seats_fill(assignment.project_id, ids)
        places_change(place, answer=answer)
    return Ranked(ranking, created=True)


def rank_and_next(*, assignment: Assignment, said: Answered, now: datetime, rng: Random) -> tuple[Ranked, Taken | None]:
    """Record a ranking, as `rank_create` does, and lease one more seat to the same person."""
    ranked = rank_create(assignment=assignment, said=said, now=now)
    if not ranked.created:
        return ranked, None
    project, user = assignment.project, assignment.holder
    name = guideline_name(project) if assignment.guideline_now is None else assignment.guideline_now
    asked = asking(project=project, user=user, now=now, rng=rng, guideline=name)
    gives = may_get(project, user, asked.place)
    taken = seat_take_late(asked) if gives else None
    if taken is not None:
        sets_lay_out([taken.assignment], task_now(assignment), rng)
    return ranked, taken


def _check(assignment: Assignment, said: Answered) -> str:
    """Return the guideline's version under which the ranking was made. Raises BadVote."""
    if len(said.reason) > MAX_REASON:
        raise BadVote(f"a note has at most {MAX_REASON:,} characters")
    if len(said.key) > MAX_KEY:
        raise BadVote(f"a key has at most {MAX_KEY} characters")
    if assignment.shown is None:
        raise BadVote("this is a pair of answers: choose the better one, or skip the pair")
    guideline = guideline_read(assignment, said.guideline)
    task = task_of(assignment.project, guideline)
    if not task.of_sets:
        raise BadVote(f"the guideline {guideline or '(none)'} does not ask for a ranking")
    n = len(assignment.shown)
    if len(said.ranks) != n or not all(1 <= rank <= n for rank in said.ranks):
        raise BadVote(f"a ranking has {n} numbers from 1 (best) to {n}, one for each answer in the order shown")
    why = refusal(task, _groups(range(n), said.ranks), n)
    if why:
        raise BadVote(why)
    return guideline


def _groups(shown: Sequence[int], ranks: Sequence[int]) -> list[list[int]]:
    """The answers in groups, the best first; gaps between the numbers mean nothing."""
    by_rank: dict[int, list[int]] = {}
    for answer, rank in zip(shown, ranks, strict=True):
        by_rank.setdefault(rank, []).append(answer)
    return [sorted(by_rank[rank]) for rank in sorted(by_rank)]


def _known(assignment: Assignment, key: str) -> Ranking | None:
    if not key:
        return None
    return Ranking.objects.filter(prompt=assignment.comparison.prompt_id, user=assignment.holder, key=key).first()


def _same_again(held: Assignment, groups: list[list[int]]) -> Ranking:
    standing = held.votes.filter(superseded_by__isnull=True).exclude(choice="withdrawn").select_related("ranking")
    vote = standing.first()
    if vote is None or vote.ranking is None or vote.ranking.groups != groups:
        raise AlreadyAnswered("this set has another answer of yours already; undo that first")
    return vote.ranking


def _written(
    given: Assignment,
    said: Answered,
    guideline: str,
    groups: list[list[int]],
    comparisons: dict[tuple[int, int], Comparison],
    rater: str,
    now: datetime,
) -> tuple[Ranking, Answer]:
    """Write the ranking and its votes, and derive the labels anew."""
    user, shown = given.holder, list(given.shown or ())
    heads = heads_of(user, [row.pk for row in comparisons.values()])
    head = heads.get(given.comparison_id)
    if head is not None and head.choice != "withdrawn":
        raise AlreadyAnswered("you have answered this set already; undo that first")
    at = said_when(said.said_at, now)
    ranking = Ranking(
        prompt_id=given.comparison.prompt_id,
        user=user,
        rater=_rater(given, rater, comparisons),
        groups=groups,
        shown=shown,
        key=said.key,
        at=at,
        seconds=None if said.seconds is None else min(max(said.seconds, 0.0), MAX_SECONDS),
        guideline=guideline,
        reason=said.reason.strip(),
        reasons=list(said.reasons),
    )
    votes = []
    for pair, outcome in ranked_pairs(groups):
        comparison = comparisons[pair]
        last = heads.get(comparison.pk)
        if last is None or last.choice == "withdrawn" or last.ranking_id is not None:
            votes.append(_vote(given, ranking, comparison, outcome, last))
    ranking_append(ranking=ranking, votes=votes, project=given.project, now=now)
    for vote in votes:
        told("vote.created", given.project, vote)
    return ranking, Answer(ranking.rater, ranking.seconds, at, is_label=True, counts=False)


def _vote(given: Assignment, ranking: Ranking, comparison: Comparison, outcome: Outcome, last: Vote | None) -> Vote:
    """What the ranking says of one pair. The pair that leads the set has the seat, time, note and reasons."""
    leads = comparison.pk == given.comparison_id
    first, second = (ranking.shown.index(pk) for pk in (comparison.first_id, comparison.second_id))
    return Vote(
        comparison=comparison,
        assignment=given if leads else None,
        user=given.holder,
        rater=ranking.rater,
        choice=outcome,
        order="01" if first < second else "10",
        at=ranking.at,
        seconds=ranking.seconds if leads else None,
        guideline=ranking.guideline,
        reason=ranking.reason if leads else "",
        reasons=ranking.reasons if leads else [],
        by_chance=given.by_chance,
        ranking=ranking,
        supersedes=last,
    )


def _rater(given: Assignment, known: str, comparisons: dict[tuple[int, int], Comparison]) -> str:
    """The person's name, which no import has used for somebody else on one of these pairs."""
    name = known or rater_name(given.holder, given.comparison)
    theirs = Vote.objects.filter(rater=name, user=None, comparison__in=list(comparisons.values()))
    clash = theirs.select_related("comparison").first()
    return name if clash is None else rater_name(given.holder, clash.comparison)
