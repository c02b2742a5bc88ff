"""Games between models as integer-coded columns, to handle a leaderboard of a million verdicts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefloop.preference import SCORE_OF_OUTCOME
from prefloop.stats.agreement import MISSING
from prefloop.types import OUTCOMES, Outcome

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HUMAN = -1  # the source of a game that a person decided; judges are numbered from 0
SCORE_OF_CODE = np.array([SCORE_OF_OUTCOME[outcome] for outcome in OUTCOMES])


@dataclass(frozen=True, slots=True)
class Game:
    """Model `a` (canonical first) against `b`; outcome None: not usable. `first_shown` None: not known.

    Games of one `item` (a comparison: one pair in one order) are drawn together in a bootstrap; None: a game is an item
    of its own. Lengths are of the answers, in characters.
    """

    a: str
    b: str
    outcome: Outcome | None
    first_shown: Literal["a", "b"] | None = None
    item: Hashable | None = None
    length_a: int | None = None
    length_b: int | None = None


@dataclass(frozen=True, slots=True)
class GameColumns:
    """One row a game. `score` is a's (1, ½, 0), NaN where not usable; `shown` +1, -1 or 0 as in bradley_terry.Games."""

    models: tuple[str, ...]
    a: Ints  # place in `models`, or MISSING where the answer has no model's name
    b: Ints
    score: Floats
    shown: Floats
    item: Ints
    length_difference: Floats  # of a's answer less b's; NaN: not known
    source: Ints  # HUMAN or a judge's code
    style: Floats | None = None  # (games, features) as in style.style_differences; None: not asked for

    @property
    def usable(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.score) & (self.a >= 0) & (self.b >= 0) & (self.a != self.b))

    def where(self, rows: NDArray[np.bool_]) -> GameColumns:
        """Keep these rows, and number the remaining models, in order."""
        a, b = self.a[rows], self.b[rows]
        n = np.bincount(a + 1, minlength=len(self.models) + 1) + np.bincount(b + 1, minlength=len(self.models) + 1)
        codes = np.flatnonzero(n[1:])  # the first count is that of MISSING
        place = np.full(len(self.models) + 1, MISSING)
        place[codes] = np.arange(len(codes))  # the last place is that of MISSING
        return GameColumns(
            tuple(self.models[code] for code in codes.tolist()),
            place[a],
            place[b],
            self.score[rows],
            self.shown[rows],
            self.item[rows],
            self.length_difference[rows],
            self.source[rows],
            None if self.style is None else self.style[rows],
        )


def columns_of_games(games: Iterable[Game]) -> GameColumns:
    """Code games; models are sorted by name."""
    rows = list(games)
    names = sorted({name for g in rows for name in (g.a, g.b) if name})
    place = {name: i for i, name in enumerate(names)} | {"": MISSING}
    items: dict[Hashable, int] = {}
    n = len(rows)
    return GameColumns(
        models=tuple(names),
        a=np.fromiter((place[g.a] for g in rows), dtype=np.int64, count=n),
        b=np.fromiter((place[g.b] for g in rows), dtype=np.int64, count=n),
        score=np.fromiter(
            (np.nan if g.outcome is None else SCORE_OF_OUTCOME[g.outcome] for g in rows), dtype=np.float64, count=n
        ),
        shown=np.fromiter(((g.first_shown == "a") - (g.first_shown == "b") for g in rows), dtype=np.float64, count=n),
        item=np.fromiter(
            (items.setdefault((i,) if g.item is None else (g.item, ""), len(items)) for i, g in enumerate(rows)),
            dtype=np.int64,
            count=n,
        ),
        length_difference=np.fromiter((_difference(g) for g in rows), dtype=np.float64, count=n),
        source=np.full(n, HUMAN),
    )


def _difference(game: Game) -> float:
    known = game.length_a is not None and game.length_b is not None
    return float((game.length_a or 0) - (game.length_b or 0)) if known else float("nan")
