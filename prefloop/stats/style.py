"""Strengths with style held equal: length, headers, lists and bold text as covariates of the Bradley–Terry fit.

The idea of Chatbot Arena's style control (Li, Angelopoulos and Chiang 2024). Of each feature a game has the difference
of both answers over their sum, between -1 and 1, divided by its root mean square over the games, so that an effect is
the log-odds of a usual difference and effects can be compared.

Departures: 1. length is in characters, there in tokens; 2. no mean is taken off, because a feature must only change
its sign when the two answers swap places; 3. a feature that no answer has is left out, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefloop.stats.bradley_terry import BradleyTerry, Games, NotConverged, fit_bradley_terry
from prefloop.stats.clusters import Played
from prefloop.types import Interval

Floats = NDArray[np.float64]

FEATURES = ("length", "headers", "lists", "bold")
NOWHERE = "no answer has any"

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^ {0,3}#{1,6}[ \t]", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]+\*\*|__(?=\S)[^_\n]+__")


def style_of(text: str) -> tuple[int, int, int, int]:
    """Count an answer's characters, Markdown headers, list items and bold passages; what is in code blocks is no
    style.
    """
    plain = _CODE.sub("", text)
    return len(text), len(_HEADER.findall(plain)), len(_LIST.findall(plain)), len(_BOLD.findall(plain))


def style_differences(first: ArrayLike, second: ArrayLike) -> Floats:
    """Give (first - second) / (first + second) of counts (games, features); 0 where both are 0."""
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    total = one + other
    return np.divide(one - other, total, out=np.zeros_like(total), where=total > 0)


@dataclass(frozen=True, slots=True)
class StyleEffect:
    """The effect of one feature, in log-odds of a usual difference; `reason` says why there is none."""

    name: str
    effect: float | None
    se: float | None
    interval: Interval | None
    scale: float  # the root mean square of the difference over the sum
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StyleControl:
    """The fit with style held equal, and the effect of each feature."""

    fit: BradleyTerry
    effects: tuple[StyleEffect, ...]


def style_controlled(
    played: Played, differences: Floats, *, n_players: int, names: Sequence[str] = FEATURES
) -> StyleControl:
    """Fit games with the differences (games, features) of `style_differences` as covariates.

    Errors are clustered by item. Raises NotConverged with the reason.
    """
    scale = np.sqrt((differences**2).mean(axis=0)) if len(differences) else np.zeros(len(names))
    varies = np.flatnonzero(scale > 0)
    if not len(varies):
        raise NotConverged("all answers have the same style" if len(differences) else "no games")
    features = differences[:, varies] / scale[varies]
    games = Games.of(played.a, played.b, played.score, features=features)
    fit = fit_bradley_terry(games, n_players=n_players, played=played, played_features=features)
    reach = fit.reach()
    effects = []
    for at, name in enumerate(names):
        place = np.flatnonzero(varies == at)
        if not len(place):
            effects.append(StyleEffect(name, None, None, None, 0.0, NOWHERE))
            continue
        effect, se = float(fit.effects[place[0]]), float(fit.effects_se[place[0]])
        ends = Interval(effect - reach * se, effect + reach * se)
        effects.append(StyleEffect(name, effect, se, ends, float(scale[at])))
    return StyleControl(fit, tuple(effects))
