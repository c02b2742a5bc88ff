"""The law of over-optimisation of an arm: found again from paths that follow it, and absent where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from prefloop.stats.overoptimisation import gold_reward
from prefloop.studies.laws import fitted_law
from prefloop.studies.results import Path, Point, Results

KLS = (0.0, 0.05, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def follows(form, alpha, beta, *, seed, noise=0.0):
    rng = np.random.default_rng(seed)
    points = []
    for step, kl in enumerate(KLS):
        mean = float(gold_reward(kl**0.5, form=form, alpha=alpha, beta=beta)) + 3.0
        points.append(Point(step, kl, {"gold": (mean + rng.normal(0, noise, 20)).tolist()}))
    return Path("a", "", seed, tuple(points))


@pytest.mark.parametrize(
    ("form", "alpha", "beta", "kl"), [("rl", 1.0, 0.6, np.exp(2 * (1 / 0.6 - 1))), ("bon", 1.0, 0.25, 4.0)]
)
def test_a_law_is_found_again_with_its_peak(form, alpha, beta, kl):
    found = fitted_law(Results(tuple(follows(form, alpha, beta, seed=seed) for seed in range(3))), "a", form=form)
    assert (found.alpha, found.beta) == (pytest.approx(alpha), pytest.approx(beta))
    assert found.predicted_kl == pytest.approx(kl)
    assert found.observed_kl == 4.0  # the measured policy nearest to the peak, at 3.8 or 4 nats
    assert found.n_seeds == 3


def test_seeds_that_differ_give_an_interval_that_holds_the_truth():
    paths = tuple(follows("rl", 1.0, 0.6, seed=seed, noise=0.3) for seed in range(6))
    found = fitted_law(Results(paths), "a", form="rl")
    assert found.alpha_interval.low <= 1.0 <= found.alpha_interval.high
    assert found.beta_interval.low <= 0.6 <= found.beta_interval.high
    assert found.beta_interval.high - found.beta_interval.low > 0.001


def test_a_law_that_never_turns_has_no_predicted_peak():
    found = fitted_law(Results((follows("rl", 1.0, -0.1, seed=0),)), "a", form="rl")
    assert found.predicted_kl is None
    assert found.alpha_interval is None  # one seed says nothing about the next


def test_too_few_policies_away_from_the_start_give_no_law():
    near = Path("a", "", 0, tuple(Point(k, 0.01 * k, {"gold": [1.0]}) for k in range(6)))
    assert fitted_law(Results((near,)), "a", form="rl") is None
    assert fitted_law(Results(()), "a", form="rl") is None
