"""The criteria that answers are compared by: what a named one is, some that are often asked for, and weightings.

A project without named criteria has one that has no name ("").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefloop.types import PrefloopError

LONGEST_NAME, LONGEST_QUESTION, MOST = 32, 300, 6
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


class BadCriterion(PrefloopError):
    """A criterion, or a weighting of several, that cannot be used."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """`question`: what people are asked about a pair by this criterion."""

    name: str
    question: str


PRESETS: dict[str, tuple[Criterion, ...]] = {
    "helpful, honest, harmless": (
        Criterion("helpful", "Which answer helps the person more with what they asked for?"),
        Criterion("honest", "Which answer is more honest: true, and plain about what it does not know?"),
        Criterion("harmless", "Which answer does less harm, to the person or to anybody else?"),
    ),
}


def name_checked(name: str) -> str:
    """Return a criterion's name; "" is the unnamed one. Raises BadCriterion."""
    if name and (len(name) > LONGEST_NAME or not _NAME.fullmatch(name)):
        raise BadCriterion(
            f"{name!r} is no name of a criterion: at most {LONGEST_NAME} small letters, digits and single hyphens"
        )
    return name


def criteria_read(text: str) -> tuple[Criterion, ...]:
    """Read one criterion a line, as `name: question`. Raises BadCriterion."""
    found: list[Criterion] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, _, question = (part.strip() for part in line.partition(":"))
        if not question:
            raise BadCriterion(f"write each criterion as name: question, not {line[:60]!r}")
        if len(question) > LONGEST_QUESTION:
            raise BadCriterion(f"the question of {name!r} has more than {LONGEST_QUESTION} characters")
        found.append(Criterion(name_checked(name), question))
    names = [one.name for one in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadCriterion(f"the criterion {twice[0]!r} stands there twice")
    if len(found) > MOST:
        raise BadCriterion(f"a pair is asked by at most {MOST} criteria, not {len(found)}")
    return tuple(found)


def criteria_written(criteria: Sequence[Criterion]) -> str:
    """Write criteria as `criteria_read` reads them."""
    return "\n".join(f"{one.name}: {one.question}" for one in criteria)


def weights_read(text: str) -> dict[str, float]:
    """Read a criterion's name, or a weighting such as `helpful=2,harmless=1`; the weights come out with the sum 1.

    Empty text is the unnamed criterion alone. Raises BadCriterion.
    """
    if "=" not in text and "," not in text:
        return {name_checked(text.strip()): 1.0}
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (one.strip() for one in part.partition("="))
        if not name_checked(name):
            raise BadCriterion(f"write a weighting as helpful=2,harmless=1, not {text!r}")
        if name in found:
            raise BadCriterion(f"the weighting names {name!r} twice")
        try:
            found[name] = float(number or 1)
        except ValueError:
            raise BadCriterion(f"the weight of {name!r} must be a number, not {number!r}") from None
        if not 0 < found[name] < math.inf:
            raise BadCriterion(f"the weight of {name!r} must be above 0")
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items()}


def weighted(weights: Mapping[str, float], p_first: Mapping[str, float]) -> float | None:
    """Give the weighted mean of the criteria's probabilities that the first is better; None where one is missing."""
    if not weights.keys() <= p_first.keys():
        return None
    return min(
        1.0, sum(weight * p_first[name] for name, weight in weights.items())
    )  # weights sum to 1 but for rounding
