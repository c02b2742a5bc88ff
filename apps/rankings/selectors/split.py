"""Pairs on which people split, for a lead to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q

from apps.labels.models import Vote
from apps.labels.selectors import counting_votes, standing_adjudications
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import comparable
from prefloop.types import ANSWERS, OUTCOMES


@dataclass(frozen=True, slots=True)
class SplitPair:
    """A pair on which people gave different answers, or that they could not judge. `adjudication`: the decision that
    stands on it.
    """

    comparison_id: int
    n_votes: int
    n_largest: int  # votes for the most frequent outcome
    n_cant_judge: int
    has_majority: bool
    adjudication: Vote | None
    criterion: str = ""  # the named one by which they answered

    @property
    def at(self) -> str:
        """Its place in addresses: the comparison, and the criterion if it is a named one."""
        return f"{self.comparison_id}:{self.criterion}" if self.criterion else str(self.comparison_id)


def split_pairs(project: Project, *, decided: bool | None = False) -> list[SplitPair]:
    """List the pairs on which the votes that count differ, by each criterion, those without a majority first, then the
    closest; and those that two people, or everybody who was asked, could not judge.

    Left out: pairs that still want votes, held-out ones, whose labels are never trained on, and pairs of equal answers.
    `decided`: False leaves out those that are adjudicated, True keeps only them, None gives both.
    """
    here = Q(ready("comparison__"), comparable("comparison__"), comparison__project=project)
    votes = counting_votes(None).filter(here, comparison__held_out=False, choice__in=ANSWERS).order_by()
    counts = {said: Count("id", filter=Q(choice=said)) for said in ANSWERS}
    rows = votes.values_list("comparison_id", "criterion").annotate(
        n=Count("id"), kinds=Count("choice", filter=Q(choice__in=OUTCOMES), distinct=True), **counts
    )
    unclear = Q(cant_judge__gt=1) | Q(cant_judge=F("n"))
    found: Any = rows.filter(Q(kinds__gt=1) | unclear, n__gte=project.votes_per_comparison)
    given = standing_adjudications(None).filter(comparison__project=project, choice__in=OUTCOMES)
    # the last of several stands
    settled = {(vote.comparison_id, vote.criterion): vote for vote in given.order_by("id")}
    out = []
    for key, criterion, n, _kinds, *by_outcome, n_cant_judge in found:
        decision = settled.get((key, criterion))
        if decided is not None and (decision is not None) != decided:
            continue
        largest = sorted(by_outcome, reverse=True)
        out.append(SplitPair(key, n, largest[0], n_cant_judge, largest[0] > largest[1], decision, criterion))
    return sorted(
        out, key=lambda one: (one.has_majority, one.n_largest / one.n_votes, one.comparison_id, one.criterion)
    )
