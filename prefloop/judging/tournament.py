"""Scoring the answers to one prompt with a judge that can only compare: they play each other, and strengths are fitted.

Up to eight answers all play each other; with more, each plays at most eight others, evenly, in an order drawn by the
seed. A game is the judge's label from its orders together. Strengths are Bradley–Terry's, in log-odds: of two answers,
i wins with σ(s_i - s_j). A tie is half a win for each; `both_bad` too. Each strength has a standard normal prior, so
that an answer that won or lost every game has a finite one, and they sum to 0 (Bradley and Terry 1952, Biometrika 39; a
game's probability may be soft). Scores are comparable within one prompt, and not across prompts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefloop.judging.verdicts import EffectiveLabel

ALL_MEET = 8  # answers
_STEPS = 100
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Game:
    """A game of answers `i` and `j`; `p` is how far `i` won: 1, ½ for a tie, 0, or a soft judge's probability."""

    i: int
    j: int
    p: float


def meetings(n: int, *, seed: int) -> list[tuple[int, int]]:
    """Choose which of n answers play each other: indices i < j, each pair once."""
    if n <= ALL_MEET:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    order = list(range(n))
    random.Random(seed).shuffle(order)
    found = {
        (min(pair), max(pair))
        for at in range(n)
        for step in range(1, ALL_MEET // 2 + 1)
        if len(pair := {order[at], order[(at + step) % n]}) == 2
    }
    return sorted(found)


def n_meetings(n: int) -> int:
    """How many pairs of n answers are compared."""
    return n * (n - 1) // 2 if n <= ALL_MEET else len(meetings(n, seed=0))


def game_of(i: int, j: int, label: EffectiveLabel) -> Game | None:
    """Turn a label into a game; None if the judge did not decide (its orders disagree, it can't be read)."""
    if label.outcome is None:
        return None
    p = {"first": 1.0, "second": 0.0}.get(label.outcome, 0.5)
    return Game(i, j, p if label.p_first is None else label.p_first)


def strengths(n: int, games: Iterable[Game]) -> list[float | None]:
    """Fit the n answers' strengths by Newton's method; None for an answer without a game."""
    played = list(games)
    met = {place for game in played for place in (game.i, game.j)}
    i, j = (np.array([getattr(game, side) for game in played], dtype=np.int64) for side in "ij")
    p = np.array([game.p for game in played])
    s: NDArray[np.float64] = np.zeros(n)
    for _ in range(_STEPS if played else 0):
        expected = 1 / (1 + np.exp(s[j] - s[i]))
        gradient, information = -s.copy(), np.eye(n)
        np.add.at(gradient, i, p - expected)
        np.add.at(gradient, j, expected - p)
        weight = expected * (1 - expected)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            np.add.at(information, (a, b), sign * weight)
        if np.abs(gradient).max() < _TOLERANCE:
            break
        s = s + np.linalg.solve(information, gradient)
    return [float(s[place]) if place in met else None for place in range(n)]
