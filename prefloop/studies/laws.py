"""The over-optimisation law of an arm: how gold rises and falls with distance from the start, fitted seed by seed.

The law and its form are those of `prefloop.stats.overoptimisation` (Gao et al. 2022, arXiv:2210.10760). It is fitted to
each seed's mean gold above the start at every measured policy; the intervals are over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefloop.stats.intervals import mean_interval
from prefloop.stats.overoptimisation import Form, fit_overoptimisation, peak
from prefloop.studies.results import Path, Results
from prefloop.types import Interval

NEAREST = 0.1  # nats: the form of policies that are trained has an infinite slope at 0, and is not fitted near it
FEWEST = 3  # points of a seed


@dataclass(frozen=True, slots=True)
class Fitted:
    """The law of an arm over its seeds. Peaks are in nats; None where the law never turns, or nothing was measured."""

    arm: str
    form: Form
    alpha: float
    beta: float
    alpha_interval: Interval | None
    beta_interval: Interval | None
    predicted_kl: float | None
    observed_kl: float | None
    n_seeds: int


def fitted_law(results: Results, arm: str, *, form: Form) -> Fitted | None:
    """Fit the law to gold of an arm's paths; None where no seed has enough measured policies away from the start."""
    fits = []
    for paths in results.of(arm).values():
        for path in paths:
            distance, gold = _away(path)
            if len(distance) >= FEWEST:
                fits.append(fit_overoptimisation(distance, gold, form=form))
    if not fits:
        return None
    alphas, betas = [fit.alpha for fit in fits], [fit.beta for fit in fits]
    alpha, beta = float(np.mean(alphas)), float(np.mean(betas))
    found = peak(form=form, alpha=alpha, beta=beta)
    return Fitted(
        arm=arm,
        form=form,
        alpha=alpha,
        beta=beta,
        alpha_interval=mean_interval(alphas),
        beta_interval=mean_interval(betas),
        predicted_kl=found.kl if found is not None else None,
        observed_kl=_observed([path for paths in results.of(arm).values() for path in paths]),
        n_seeds=len(fits),
    )


def _away(path: Path) -> tuple[list[float], list[float]]:
    """Give distance (square root of KL) and gold above the start of the points that are away from the start."""
    gold = path.table("gold").mean(axis=1)
    rows = [(point.kl**0.5, float(gold[at] - gold[0])) for at, point in enumerate(path.points) if point.kl >= NEAREST]
    return [distance for distance, _ in rows], [value for _, value in rows]


def _observed(paths: Sequence[Path]) -> float | None:
    """Average over the paths the KL at which gold was highest."""
    if not paths:
        return None
    return float(np.mean([path.points[int(path.table("gold").mean(axis=1).argmax())].kl for path in paths]))
