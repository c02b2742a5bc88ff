"""Length-controlled win rates: by hand, against statsmodels, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from prefloop.stats.bradley_terry import NotConverged
from prefloop.stats.length_control import interval_of, length_controlled


def _games(seed, n, *, strength=0.5, pull=1.5):
    """A model that writes longer answers than the baseline, and a judge that likes long ones."""
    rng = np.random.default_rng(seed)
    delta = rng.normal(200, 300, n)
    feature = np.tanh(delta / np.sqrt((delta**2).mean()))
    score = (rng.random(n) < expit(strength + pull * feature)).astype(float)
    return delta, feature, score


def test_answers_that_are_longer_as_often_as_shorter_by_hand():
    # Δ = ±1, tanh(1) either way. Longer: 8 of 10 won, shorter: 5 of 10. Two shares for two parameters.
    delta = np.array([1.0] * 10 + [-1.0] * 10)
    score = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 5 + [0.0] * 5)
    found = length_controlled(np.zeros(20), np.ones(20), score, delta, n_players=2)
    level = (np.log(4) + 0) / 2  # half way between the two log-odds
    assert found.win_rate == pytest.approx([expit(level), 1 - expit(level)])
    assert found.effect == pytest.approx(np.log(4) / 2 / np.tanh(1))
    assert found.raw == pytest.approx([0.65, 0.35])


def test_it_is_the_robust_logistic_regression_of_statsmodels():
    delta, feature, score = _games(0, 800)
    found = length_controlled(np.zeros(800), np.ones(800), score, delta, n_players=2)
    fit = sm.GLM(score, np.stack([np.ones(800), feature], axis=1), family=sm.families.Binomial()).fit(cov_type="HC0")
    assert found.win_rate[0] == pytest.approx(expit(fit.params[0]), abs=1e-9)
    assert (found.effect, found.effect_se) == pytest.approx((fit.params[1], fit.bse[1]), abs=1e-7)
    low, high = expit(fit.params[0] - 1.959964 * fit.bse[0]), expit(fit.params[0] + 1.959964 * fit.bse[0])
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=1e-6)


def test_it_takes_the_pull_of_length_out():
    delta, _, score = _games(1, 20_000)
    found = length_controlled(np.zeros(20_000), np.ones(20_000), score, delta, n_players=2)
    assert found.raw[0] > 0.7 > expit(0.5)  # flattered by length
    interval = interval_of(found, 0)
    assert interval.low < expit(0.5) < interval.high
    assert found.effect == pytest.approx(1.5, abs=0.1)


def test_without_a_pull_of_length_it_is_the_win_rate_and_turning_pairs_changes_nothing():
    rng = np.random.default_rng(2)
    a = rng.integers(0, 4, 6000)
    b = (a + rng.integers(1, 4, 6000)) % 4
    score, delta = rng.choice([0.0, 0.5, 1.0], 6000), rng.normal(0, 100, 6000)
    found = length_controlled(a, b, score, delta, n_players=4)
    assert found.win_rate == pytest.approx(found.raw, abs=0.005)
    turn = rng.random(6000) < 0.5
    turned = length_controlled(
        np.where(turn, b, a),
        np.where(turn, a, b),
        np.where(turn, 1 - score, score),
        np.where(turn, -delta, delta),
        n_players=4,
    )
    assert turned.win_rate == pytest.approx(found.win_rate, abs=1e-9)
    assert turned.high == pytest.approx(found.high, abs=1e-9)


def test_what_can_not_be_told_says_so():
    with pytest.raises(NotConverged, match="equally long"):
        length_controlled([0, 0], [1, 1], [1.0, 0.0], [0, 0], n_players=2)
    with pytest.raises(NotConverged, match="can't be told"):
        length_controlled([0, 0], [1, 1], [1.0, 0.0], [5, 5], n_players=2)  # always longer by as much
    with pytest.raises(NotConverged, match=r"no finite maximum|did not converge"):
        length_controlled([0, 0, 0, 0], [1, 1, 1, 1], [1.0, 1.0, 0.0, 0.0], [9, 8, -9, -8], n_players=2)
    with pytest.raises(NotConverged, match="no games"):
        length_controlled([], [], [], [], n_players=2)
