"""The leaderboard report: models by strength, from games between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.bradley_terry import (
    BradleyTerry,
    Games,
    NotConverged,
    disconnection_reason,
    fit_bradley_terry,
)
from prefloop.stats.elo import mean_elo
from prefloop.types import Outcome

_SCORE: dict[Outcome, float] = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, slots=True)
class Game:
    """Model `a` (canonical first) against `b`; outcome None: not usable. `first_shown` None: nobody knows."""

    a: str
    b: str
    outcome: Outcome | None
    first_shown: Literal["a", "b"] | None = None


def leaderboard_report(
    *,
    project: str,
    source: str,
    games: Iterable[Game],
    n_dropped: int = 0,
    n_orders: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Build the object of `report_leaderboard --json`.

    Games without an outcome, without a model's name, or of a model with itself are dropped and counted, on top of
    `n_dropped`, which the caller dropped. `elo_orders` says over how many orders `elo` is a mean.
    """
    rows = list(games)
    used = [g for g in rows if g.outcome is not None and g.a and g.b and g.a != g.b]
    names = sorted({name for g in used for name in (g.a, g.b)})
    place = {name: i for i, name in enumerate(names)}
    a = np.fromiter((place[g.a] for g in used), dtype=np.int64, count=len(used))
    b = np.fromiter((place[g.b] for g in used), dtype=np.int64, count=len(used))
    score = np.fromiter((_SCORE[g.outcome] for g in used if g.outcome), dtype=np.float64, count=len(used))
    shown = np.fromiter(
        ((g.first_shown == "a") - (g.first_shown == "b") for g in used), dtype=np.float64, count=len(used)
    )
    lumped = Games.of(a, b, score, shown=shown)
    fit, reason = _fit(lumped, n_players=len(names))
    elo = mean_elo(a, b, score, n_players=len(names), n_orders=n_orders, seed=seed) if used else None
    n_games = np.bincount(a, minlength=len(names)) + np.bincount(b, minlength=len(names))
    won = np.bincount(a, weights=score, minlength=len(names)) + np.bincount(b, weights=1 - score, minlength=len(names))
    models: list[dict[str, Any]] = [
        {
            "name": name,
            "n": int(n_games[i]),
            "win_rate": float(won[i] / n_games[i]),
            "bt": float(fit.log_strength[i]) if fit else None,
            "bt_se": float(fit.se[i]) if fit else None,
            "bt_ci95": [fit.interval(i).low, fit.interval(i).high] if fit else None,
            "elo": float(elo.ratings[i]) if elo else None,
        }
        for i, name in enumerate(names)
    ]
    by = "bt" if fit else "elo"
    return {
        "project": project,
        "source": source,
        "models": sorted(models, key=lambda m: (-m[by], m["name"])),
        "pairs": _pairs(names, a, b, score),
        "n_used": len(used),
        "n_dropped": n_dropped + len(rows) - len(used),
        "first_slot_effect": _first_slot_effect(lumped, n_players=len(names)),
        "reason": reason,
        "elo_orders": elo.n_orders if elo else None,
    }


def _fit(games: Games, *, n_players: int) -> tuple[BradleyTerry | None, str | None]:
    try:
        return fit_bradley_terry(games, n_players=n_players), None
    except NotConverged as error:
        return None, str(error)


def _first_slot_effect(games: Games, *, n_players: int) -> dict[str, Any]:
    """Fit with the position covariate; where strengths or the effect can't be told, null and why."""
    if disconnection_reason(games, n_players=n_players):
        return {"bt": None, "se": None, "reason": "strengths are undefined"}
    try:
        fit = fit_bradley_terry(games, n_players=n_players, position=True)
    except NotConverged as error:
        return {"bt": None, "se": None, "reason": str(error)}
    return {"bt": fit.first, "se": fit.first_se, "reason": None}


def _pairs(
    names: list[str], a: NDArray[np.int64], b: NDArray[np.int64], score: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Count wins, ties (both_bad too) and losses of the first name against the second, names in order."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    result = np.where(a < b, score, 1.0 - score)
    keys, place = np.unique(low * max(len(names), 1) + high, return_inverse=True)
    counts = np.zeros((len(keys), 3), dtype=np.int64)
    np.add.at(counts, (place, np.rint((1.0 - result) * 2).astype(np.int64)), 1)
    return [
        {
            "a": names[key // len(names)],
            "b": names[key % len(names)],
            "wins": int(wins),
            "ties": int(ties),
            "losses": int(losses),
        }
        for key, (wins, ties, losses) in zip(keys.tolist(), counts, strict=True)
    ]
