"""Comparisons that follow from ratings: who has rated two answers to a prompt by the same items has compared them.

Each is stored as a ranking of the two answers that names the later rating (`Ranking.rating`), with a vote on the pair.
So all code that reads votes reads these; what the person said of the pair itself, by a vote or a ranking, stays.
"""

from __future__ import annotations

from datetime import datetime

from apps.accounts.models import User
from apps.labels.models import Ranking, Rating, Vote
from apps.labels.raters import rater_name
from apps.labels.ratings import beside, groups_of, votes_from
from apps.labels.selectors import heads_of
from apps.labels.services import ranking_append, vote_withdraw
from apps.labels.telling import told
from apps.projects.models import Project
from apps.rankings.services.counts import counted
from apps.rankings.services.seats import seats_fill
from apps.samples.models import Comparison, Completion
from apps.samples.services import comparisons_create
from prefloop.answers import same_answer
from prefloop.records import ranked_pairs

_ORIGIN = "manual"


def compared(project: Project, rating: Rating, now: datetime) -> None:
    """Append the comparisons with the same person's other ratings of the prompt. In the rating's transaction."""
    answer = rating.completion
    others = [one for one in beside(rating) if not same_answer(one.completion.text, answer.text)]
    if rating.user is None or not others:
        return
    rows = _comparisons(project, answer, [one.completion for one in others])
    ids = [row.pk for row in rows]
    with counted(project.pk, ids):
        heads = heads_of(rating.user, ids)
        for earlier, comparison in zip(others, rows, strict=True):
            head = heads.get(comparison.pk)
            if head is None or head.choice == "withdrawn" or _follows(head):
                _append(project, earlier, rating, comparison, head, now)
        seats_fill(project.pk, ids)


def _follows(vote: Vote) -> bool:
    """Whether a vote follows from ratings; on a pair that the person has voted on, or ranked, that vote stays."""
    return vote.ranking is not None and vote.ranking.rating_id is not None


def compared_no_more(project: Project, rating: Rating, now: datetime) -> None:
    """Take back the comparisons that follow from a rating. In the transaction that takes it back."""
    votes = votes_from(rating)
    ids = [vote.comparison_id for vote in votes]
    with counted(project.pk, ids):
        for vote in votes:
            vote_withdraw(vote=vote, now=now)
            told("vote.withdrawn", project, vote)
        seats_fill(project.pk, ids)


def _comparisons(project: Project, answer: Completion, others: list[Completion]) -> list[Comparison]:
    """The comparisons of an answer with others, in their order; those that are made here are not asked as pairs."""
    keys = [(min(answer.pk, one.pk), max(answer.pk, one.pk)) for one in others]
    there = set(Comparison.objects.filter(first__in=[a for a, _ in keys]).values_list("first_id", "second_id"))
    made = comparisons_create(project=project, pairs=[(answer, one) for one in others], origin=_ORIGIN)
    new = [row.pk for row in made if (row.first_id, row.second_id) not in there]
    Comparison.objects.filter(pk__in=new).update(for_people=False)
    by_answers = {(row.first_id, row.second_id): row for row in made}
    return [by_answers[key] for key in keys]


def _append(
    project: Project, earlier: Rating, later: Rating, comparison: Comparison, head: Vote | None, now: datetime
) -> None:
    user: User | None = later.user
    groups = groups_of(earlier, later)
    ((_, outcome),) = ranked_pairs(groups)
    rater = later.rater
    taken = Vote.objects.filter(comparison=comparison, rater=rater, user=None).exists()
    if taken and user is not None:  # an import has somebody of this name on the pair
        rater = rater_name(user, comparison)
    ranking = Ranking(
        prompt_id=comparison.prompt_id,
        user=user,
        rater=rater,
        groups=groups,
        at=later.at,
        guideline=later.guideline,
        rating=later,
    )
    vote = Vote(
        comparison=comparison,
        user=user,
        rater=rater,
        choice=outcome,
        at=later.at,
        guideline=later.guideline,
        ranking=ranking,
        supersedes=head,
    )
    ranking_append(ranking=ranking, votes=[vote], project=project, now=now)
    told("vote.created", project, vote)
