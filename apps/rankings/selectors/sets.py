"""A set of answers as one person sees it: in the order of their assignment, and nothing that reveals the authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.projects.selectors import questions_of
from apps.rankings.models import Assignment
from apps.rankings.selectors.pair import ShownPair, conversation, pair_of
from apps.samples.models import Completion


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    letter: str
    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ShownSet:
    """Everything that an annotator's page or program gets of an assignment of a set."""

    assignment: int
    comparison: int
    prompt: str
    messages: tuple[dict[str, Any], ...]
    answers: tuple[ShownAnswer, ...]
    lease_until: datetime

    @property
    def ranks(self) -> range:
        """The places that an answer may have, the best first."""
        return range(1, len(self.answers) + 1)


def items_of(assignments: Sequence[Assignment]) -> list[ShownPair | ShownSet]:
    """Return what these assignments show: pairs, and sets of answers; one query for the answers of all sets, and one
    for the questions of named criteria.
    """
    named = next((seat for seat in assignments if seat.criterion), None)
    questions = {} if named is None else questions_of(named.project)
    wanted = {pk for seat in assignments for pk in seat.shown or ()}
    rows = Completion.objects.filter(pk__in=wanted) if wanted else Completion.objects.none()
    answers = {row.pk: row for row in rows.only("text", "finished")}
    return [pair_of(seat, questions) if seat.shown is None else _set_of(seat, answers) for seat in assignments]


def _set_of(seat: Assignment, answers: dict[int, Completion]) -> ShownSet:
    if seat.lease_until is None:
        raise ValueError(f"seat {seat.pk} is free: it is shown to nobody")
    shown = [answers[pk] for pk in seat.shown or ()]
    return ShownSet(
        assignment=seat.pk,
        comparison=seat.comparison_id,
        prompt=seat.comparison.prompt.text,
        messages=conversation(seat.comparison),
        answers=tuple(ShownAnswer(letter_of(at), row.text, row.is_cut) for at, row in enumerate(shown)),
        lease_until=seat.lease_until,
    )


def letter_of(place: int) -> str:
    """What the answer at a place is called on the screen: A, B, …"""
    return chr(ord("A") + place)


def lettered(groups: Sequence[Sequence[int]], shown: Sequence[int]) -> list[str]:
    """A ranking in the letters of the screen, the best first: ["C", "A B"]."""
    place = {pk: at for at, pk in enumerate(shown)}
    return [" ".join(letter_of(at) for at in sorted(place[pk] for pk in group)) for group in groups]
