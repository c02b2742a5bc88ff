"""Preferences as probabilities, p for the first answer: from a difference of scores to p, and from p to an outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping

from prefloop.types import LabelledVerdict, Outcome

SCORE_OF_OUTCOME: Mapping[str, float] = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}  # in a win rate
# a label without a probability of its own, as one; where both are bad there is none
P_OF_OUTCOME: Mapping[str, float | None] = {**SCORE_OF_OUTCOME, "both_bad": None}
_SAME = 1e-12  # two probabilities closer than this are equal


def sigmoid(x: float) -> float:
    """The logistic function, without overflow at either end."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    scaled = math.exp(x)
    return scaled / (1.0 + scaled)


def p_of_difference(difference: float, *, noise: float = 1.0) -> float:
    """Give σ(difference / noise), the Bradley–Terry probability; without noise the greater one wins, and equal ones
    tie.
    """
    if noise > 0:
        return sigmoid(difference / noise)
    return 0.5 if difference == 0 else float(difference > 0)


def outcome_at(p_first: float) -> Outcome:
    """Name the more likely side; ½ is a tie."""
    if abs(p_first - 0.5) < _SAME:
        return "tie"
    return "first" if p_first > 0.5 else "second"


def hardened(p_first: float) -> float:
    """Make the more likely side certain; a tie stays a tie."""
    return {"first": 1.0, "second": 0.0}.get(outcome_at(p_first), 0.5)


def p_of(outcome: str | None, p_first: float | None) -> float | None:
    """Give the probability that a label stands for, its own or its outcome's; None where it names no better side."""
    if outcome is None or outcome == "both_bad":
        return None
    return P_OF_OUTCOME[outcome] if p_first is None else p_first


def verdict_at(p_first: float) -> LabelledVerdict:
    """Return p as a verdict: its outcome, and p itself."""
    return LabelledVerdict(state="ok", outcome=outcome_at(p_first), p_first=p_first)
