"""Reference files: small data sets with published figures, computed again.

A case of `agreement` has `layout`, `data` and `published`; one of `bradley_terry` has `wins` (winner, loser, how
often). Each figure is computed under its published name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from prefloop.stats import agreement
from prefloop.stats.agreement import Ints, Kappa, Weights
from prefloop.stats.bradley_terry import Games, fit_bradley_terry
from prefloop.types import PrefloopError

Results = dict[str, dict[str, dict[str, Any]]]
PARTS = ("agreement", "bradley_terry")


class BadCases(PrefloopError):
    """A reference file that can't be read."""


def load_cases(path: str | Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the file. Raises BadCases with one line where it is missing, is not JSON, or holds no cases."""
    try:
        value = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadCases(f"{path}: {error.strerror or error}") from None
    except orjson.JSONDecodeError as error:
        raise BadCases(f"{path}: is not valid JSON: {error}") from None
    if not isinstance(value, dict) or not any(part in value for part in PARTS):
        raise BadCases(f"{path}: holds neither {PARTS[0]} nor {PARTS[1]} cases")
    for part in PARTS:
        cases = value.get(part, {})
        if not isinstance(cases, dict):
            raise BadCases(f"{path}: {part} is not an object")
        for name, case in cases.items():
            if not isinstance(case, dict) or not isinstance(case.get("published"), dict):
                raise BadCases(f"{path}: {part} / {name} has no published figures")
    return {part: value.get(part, {}) for part in PARTS}


def compute_cases(cases: dict[str, dict[str, dict[str, Any]]]) -> Results:
    """Compute every published figure of every case. Raises BadCases naming the case at fault."""
    compute: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "agreement": _agreement_case,
        "bradley_terry": _bradley_terry_case,
    }
    results: Results = {}
    for part, named in cases.items():
        results[part] = {}
        for name, case in named.items():
            try:
                computed = compute[part](case)
            except BadCases as error:
                raise BadCases(f"{part} / {name}: {error}") from None
            except (ValueError, TypeError, KeyError, IndexError, PrefloopError) as error:
                raise BadCases(f"{part} / {name}: can't be computed: {error}") from error
            results[part][name] = {"computed": computed, "published": case["published"]}
    return results


def _agreement_case(case: dict[str, Any]) -> dict[str, Any]:
    layout = str(case.get("layout", ""))
    if "data" not in case:
        raise BadCases("has no data")
    figures: dict[str, Callable[[], Any]]
    if layout.startswith("raters x units"):
        figures = _alpha_figures(case["data"])
    elif layout.startswith("units x categories"):
        counts = np.asarray(case["data"], dtype=np.float64)
        figures = _count_figures(counts, list(range(counts.shape[1])))
    elif "contingency" in layout:
        figures = _table_figures(np.asarray(case["data"], dtype=np.float64))
    else:
        raise BadCases(f"layout {layout!r} is none of: raters x units, units x categories, contingency table")
    return _take(figures, case["published"])


def _take(figures: dict[str, Callable[[], Any]], published: dict[str, Any]) -> dict[str, Any]:
    for name in published:
        if name not in figures:
            raise BadCases(f"don't know the figure {name!r} (known here: {', '.join(figures)})")
    return {name: figures[name]() for name in published}


def _alpha_figures(data: list[list[Hashable]]) -> dict[str, Callable[[], Any]]:
    categories = agreement.categories_of(value for row in data for value in row)
    coded: Ints = np.stack([agreement.codes(row, categories=categories) for row in data])
    return _count_figures(agreement.rating_counts(coded, k=len(categories)), categories)


def _count_figures(counts: Any, categories: list[Hashable]) -> dict[str, Callable[[], Any]]:
    def interval() -> float | None:
        return agreement.krippendorff_alpha(
            counts,
            level="interval",
            values=[float(value) for value in categories],  # type: ignore[arg-type]
        )

    return {
        "alpha_nominal": lambda: agreement.krippendorff_alpha(counts),
        "alpha_ordinal": lambda: agreement.krippendorff_alpha(counts, level="ordinal"),
        "alpha_interval": interval,
        "ac1": lambda: agreement.gwet_ac1(counts),
        "fleiss_kappa": lambda: agreement.fleiss_kappa(counts),
        "free_marginal": lambda: agreement.randolph_kappa(counts),
    }


def _table_figures(table: Any) -> dict[str, Callable[[], Any]]:
    def fit(weights: Weights) -> Kappa:
        kappa = agreement.cohen_kappa_interval(table, weights=weights)
        if kappa is None:
            raise BadCases("kappa is undefined on this table")
        return kappa

    def figures_of(weights: Weights, value: str, prefix: str) -> dict[str, Callable[[], Any]]:
        return {
            value: lambda: agreement.cohen_kappa(table, weights=weights),
            f"{prefix}ase": lambda: fit(weights).ase,
            f"{prefix}ci95": lambda: _ends(fit(weights)),
        }

    # "weighted" alone means the linear weights of Cicchetti and Allison, as in SAS
    return (
        {"raw_agreement": lambda: agreement.raw_agreement(table)}
        | figures_of("unweighted", "kappa", "")
        | figures_of("linear", "weighted_linear", "weighted_")
        | figures_of("quadratic", "weighted_quadratic", "weighted_quadratic_")
    )


def _ends(kappa: Kappa) -> list[float]:
    return [kappa.ci.low, kappa.ci.high]


def _bradley_terry_case(case: dict[str, Any]) -> dict[str, Any]:
    wins = case.get("wins")
    if not isinstance(wins, list) or not all(isinstance(w, list) and len(w) == 3 for w in wins):
        raise BadCases("wins is not a list of [winner, loser, how often]")
    names = agreement.categories_of(player for w in wins for player in w[:2])
    index = {name: i for i, name in enumerate(names)}
    games = Games.of(
        [index[w[0]] for w in wins], [index[w[1]] for w in wins], np.ones(len(wins)), count=[w[2] for w in wins]
    )
    fit = fit_bradley_terry(games, n_players=len(names))
    # Mean-0 log-strengths have a geometric mean of 1 once exponentiated.
    return _take(
        {
            "strength_geomean1": lambda: {
                str(name): float(np.exp(s)) for name, s in zip(names, fit.log_strength, strict=True)
            },
            "ml_log": lambda: [float(s) for s in fit.log_strength],
            "ml_log_se": lambda: [float(s) for s in fit.se],
        },
        case["published"],
    )
