"""Mixing gold pairs, whose answer is known, in among the others, so that nobody can tell which they are.

Of each hundred pairs that a person is given, as many are gold as the project's share says, at places that follow from
the person and a secret alone. So how many gold pairs are still to come is known without a draw, and a person's numbers
(“37 of 200”) change by a gold pair exactly as by any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from apps.rankings.batch_models import FIRST_LANE
from apps.rankings.models import GOLD, Assignment
from prefloop.seeds import derive_seed

MOST_SHARE = 50  # per cent


@dataclass(frozen=True, slots=True)
class Turns:
    """Which of the pairs that a person is given are gold. A turn is how many pairs they were given before."""

    project: int
    person: int
    share: int  # per cent of all pairs; 0: none is gold

    def is_gold(self, turn: int) -> bool:
        return self.share > 0 and self._place(self._stretch(turn)) == turn

    def n_before(self, turn: int) -> int:
        """How many of the turns before this one are gold."""
        if self.share == 0:
            return 0
        stretch = self._stretch(turn)
        return stretch + (self._place(stretch) < turn)

    def n_ahead(self, turn: int, n_ordinary: int) -> int:
        """How many turns are gold from this one on, until so many others have passed."""
        if self.share == 0 or n_ordinary <= 0:
            return 0
        passed = turn - self.n_before(turn)
        low, high = turn + n_ordinary, turn + 2 * n_ordinary + 2 * 100
        while low < high:  # the first turn before which all of them have passed
            middle = (low + high) // 2
            if middle - self.n_before(middle) - passed >= n_ordinary:
                high = middle
            else:
                low = middle + 1
        return self.n_before(low) - self.n_before(turn)

    def _stretch(self, turn: int) -> int:
        """The turns are cut into stretches of 100 / share, rounded; each has one gold turn."""
        return ((turn + 1) * self.share - 1) // 100

    def _place(self, stretch: int) -> int:
        first, end = 100 * stretch // self.share, 100 * (stretch + 1) // self.share
        return first + derive_seed(self.project, settings.SECRET_KEY, "gold", self.person, stretch) % (end - first)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Gold for one person who asks for pairs now."""

    turns: Turns
    turn: int
    n_ordinary: int  # other pairs that are left for them
    n_gold: int  # gold pairs that they have not met

    @property
    def is_due(self) -> bool:
        """Whether the next pair is gold: never where no other pair is left, and these would all be gold."""
        return self.n_gold > 0 and self.n_ordinary > 0 and self.turns.is_gold(self.turn)

    @property
    def n_left(self) -> int:
        """How many gold pairs will be given before the others are all done."""
        return min(self.n_gold, self.turns.n_ahead(self.turn, self.n_ordinary))

    def places(self, n: int) -> list[int]:
        """Which of the next n pairs are gold, by position."""
        found: list[int] = []
        n_ordinary = position = 0
        while position < n and n_ordinary < self.n_ordinary:
            if len(found) < self.n_gold and self.turns.is_gold(self.turn + position):
                found.append(position)
            else:
                n_ordinary += 1
            position += 1
        return found


def mixed(seats: Iterable[Assignment]) -> list[Assignment]:
    """Put gold pairs among the others at places that say nothing: their ids are of another time than theirs."""
    found: list[Assignment] = []
    gold: list[Assignment] = []
    for seat in seats:
        (gold if seat.priority == GOLD else found).append(seat)
    found.sort(key=lambda seat: seat.priority < FIRST_LANE)  # those of batches first
    for seat in gold:
        found.insert(derive_seed(seat.pk, settings.SECRET_KEY, "gold") % (len(found) + 1), seat)
    return found
