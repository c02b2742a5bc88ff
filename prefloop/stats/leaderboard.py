"""The leaderboard report: models by strength, from games between them.

Every error and interval is clustered by item: the games of one comparison (orders, samples, judges) count together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.board_bootstrap import bootstrap_strengths, strength_intervals
from prefloop.stats.bradley_terry import (
    BradleyTerry,
    Games,
    NotConverged,
    disconnection_reason,
    fit_bradley_terry,
)
from prefloop.stats.clusters import Played
from prefloop.stats.elo import Elo, mean_elo
from prefloop.stats.games import Game, GameColumns, columns_of_games
from prefloop.stats.length_control import LengthControl, interval_of, length_controlled
from prefloop.stats.style import StyleControl, style_controlled
from prefloop.stats.ties import TieFit, fit_with_ties
from prefloop.types import Interval

__all__ = ["Game", "leaderboard_report", "leaderboard_report_of_columns"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Report = dict[str, Any]


def leaderboard_report(
    *,
    project: str,
    source: str,
    games: Iterable[Game],
    n_dropped: int = 0,
    n_orders: int | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Build the object of `report_leaderboard --json`.

    Games without an outcome, without a model's name, or of a model with itself are dropped and counted, in addition to
    `n_dropped`, the number that the caller dropped. `elo_orders` is the number of orders that `elo` is averaged over.
    """
    return leaderboard_report_of_columns(
        project=project,
        source=source,
        columns=columns_of_games(games),
        n_dropped=n_dropped,
        n_orders=n_orders,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def leaderboard_report_of_columns(
    *,
    project: str,
    source: str,
    columns: GameColumns,
    n_dropped: int = 0,
    n_orders: int | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Build the same from coded columns. `n_orders` 0 leaves Elo out, `n_bootstrap` 0 the bootstrap.

    Where the columns have the answers' style, models are in the order of their strengths with style held equal.
    """
    usable = columns.usable
    used = columns.where(usable)
    n_models, n_used = len(used.models), len(used.a)
    lumped = Games.of(used.a, used.b, used.score, shown=used.shown)
    played = Played.of(used.item, used.a, used.b, used.score, used.shown)
    fit, reason = _fit(lumped, played, n_players=n_models)
    elo = None
    if n_used and n_orders != 0:
        elo = mean_elo(used.a, used.b, used.score, n_players=n_models, n_orders=n_orders, seed=seed)
    drawn: list[Interval | None] = [None] * n_models
    if fit and n_bootstrap:
        drawn = strength_intervals(
            bootstrap_strengths(
                used.item, used.a, used.b, used.score, n_players=n_models, n_bootstrap=n_bootstrap, seed=seed
            ),
            n_items=played.n_items,
        )
    davidson, ties_reason = _fit_with_ties(lumped, played, n_models)
    control, control_reason = _length_control(used)
    style, style_reason = _style_control(used, played)
    shares = played.win_rates(n_players=n_models)
    games = np.bincount(used.a, minlength=n_models) + np.bincount(used.b, minlength=n_models)
    won = np.bincount(used.a, used.score, n_models) + np.bincount(used.b, 1 - used.score, n_models)
    models: list[Report] = [
        {
            "name": name,
            "n": int(games[i]),
            "win_rate": float(won[i] / games[i]),
            "bt": float(fit.log_strength[i]) if fit else None,
            "bt_se": float(fit.se[i]) if fit else None,
            "bt_ci95": _ends(fit.interval(i)) if fit else None,
            "elo": float(elo.ratings[i]) if elo else None,
            "win_rate_ci95": _ends(shares[i]),
            "bt_bootstrap_ci95": _ends(drawn[i]),
            "davidson": float(davidson.log_strength[i]) if davidson else None,
            "davidson_se": float(davidson.se[i]) if davidson else None,
            "lc_win_rate": float(control.win_rate[i]) if control else None,
            "lc_win_rate_ci95": _ends(interval_of(control, i)) if control else None,
            "style_bt": float(style.fit.log_strength[i]) if style else None,
            "style_bt_se": float(style.fit.se[i]) if style else None,
            "style_bt_ci95": _ends(style.fit.interval(i)) if style else None,
        }
        for i, name in enumerate(used.models)
    ]
    by = "style_bt" if style else "bt" if fit else "elo" if elo else "win_rate"
    return {
        "project": project,
        "source": source,
        "models": sorted(models, key=lambda m: (-m[by], m["name"])),
        "pairs": _pairs(used.models, used.a, used.b, used.score),
        "n_used": n_used,
        "n_dropped": n_dropped + int((~usable).sum()),
        "first_slot_effect": _first_slot_effect(lumped, played, n_players=n_models),
        "reason": reason,
        "elo_orders": elo.n_orders if isinstance(elo, Elo) else None,
        "n_bootstrap": n_bootstrap if fit else 0,
        "length_effect": _length_effect(control, control_reason),
        "style": None if used.style is None else {"effects": _style_effects(style), "reason": style_reason},
        "ties": {
            "model": "davidson",
            "log_nu": davidson.tie if davidson else None,
            "se": davidson.tie_se if davidson else None,
            "reason": ties_reason,
        },
    }


def _fit(games: Games, played: Played, *, n_players: int) -> tuple[BradleyTerry | None, str | None]:
    try:
        return fit_bradley_terry(games, n_players=n_players, played=played), None
    except NotConverged as error:
        return None, str(error)


def _fit_with_ties(games: Games, played: Played, n_players: int) -> tuple[TieFit | None, str | None]:
    try:
        return fit_with_ties(games, n_players=n_players, model="davidson", played=played), None
    except NotConverged as error:
        return None, str(error)


def _length_control(used: GameColumns) -> tuple[LengthControl | None, str | None]:
    if not len(used.a) or not np.isfinite(used.length_difference).all():
        return None, "the lengths of some answers aren't known" if len(used.a) else "no games"
    try:
        found = length_controlled(
            used.a, used.b, used.score, used.length_difference, n_players=len(used.models), item=used.item
        )
    except NotConverged as error:
        return None, str(error)
    return found, None


def _style_control(used: GameColumns, played: Played) -> tuple[StyleControl | None, str | None]:
    if used.style is None:
        return None, None
    try:
        return style_controlled(played, used.style, n_players=len(used.models)), None
    except NotConverged as error:
        return None, str(error)


def _style_effects(control: StyleControl | None) -> list[Report]:
    return [
        {
            "name": one.name,
            "bt": one.effect,
            "se": one.se,
            "ci95": _ends(one.interval),
            "scale": one.scale,
            "reason": one.reason,
        }
        for one in (control.effects if control else ())
    ]


def _length_effect(control: LengthControl | None, reason: str | None) -> Report:
    if control is None:
        return {"bt": None, "se": None, "scale": None, "reason": reason}
    return {"bt": control.effect, "se": control.effect_se, "scale": control.scale, "reason": None}


def _first_slot_effect(games: Games, played: Played, *, n_players: int) -> Report:
    """Fit with the position covariate; null with the reason if strengths or the effect can't be estimated."""
    if disconnection_reason(games, n_players=n_players):
        return {"bt": None, "se": None, "reason": "strengths are undefined"}
    try:
        fit = fit_bradley_terry(games, n_players=n_players, position=True, played=played)
    except NotConverged as error:
        return {"bt": None, "se": None, "reason": str(error)}
    return {"bt": fit.first, "se": fit.first_se, "reason": None}


def _pairs(names: tuple[str, ...], a: Ints, b: Ints, score: Floats) -> list[Report]:
    """Count wins, ties (both_bad too) and losses of the first name against the second, names in order."""
    n = max(len(names), 1)
    result = np.where(a < b, score, 1.0 - score)
    place = np.rint((1.0 - result) * 2).astype(np.int64)
    keys, where = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_inverse=True)
    counts = np.bincount(where.ravel() * 3 + place, minlength=3 * len(keys)).reshape(-1, 3)
    return [
        {"a": names[pair // n], "b": names[pair % n], "wins": wins, "ties": ties, "losses": losses}
        for pair, (wins, ties, losses) in zip(keys.tolist(), counts.tolist(), strict=True)
    ]


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
