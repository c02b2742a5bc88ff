"""Calibration of soft labels: by hand, against scikit-learn, and a judge that means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from prefloop.stats.calibration import calibration


def test_four_labels_by_hand():
    found = calibration([0.95, 0.92, 0.25, 0.5], [1, 0, 0, 0.5])
    assert [(b.low, b.n, b.said, b.true) for b in found.bins] == [
        (0.2, 1, 0.25, 0.0),
        (0.5, 1, 0.5, 0.5),
        (0.9, 2, pytest.approx(0.935), 0.5),
    ]
    assert found.ece == pytest.approx((0.25 + 0 + 2 * 0.435) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.92**2 + 0.25**2 + 0) / 4)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_curve_and_score_are_those_of_scikit_learn(seed, n):
    rng = np.random.default_rng(seed)
    p, truth = rng.random(n), rng.integers(0, 2, n)
    found = calibration(p, truth)
    true, said = calibration_curve(truth, p, n_bins=10)
    assert [b.true for b in found.bins] == pytest.approx(true, abs=1e-9)
    assert [b.said for b in found.bins] == pytest.approx(said, abs=1e-9)
    assert found.brier == pytest.approx(brier_score_loss(truth, p, pos_label=1), abs=1e-9)
    assert sum(b.n for b in found.bins) == n


def test_turning_every_pair_changes_neither_score():
    rng = np.random.default_rng(0)
    p, truth = rng.random(500), rng.choice([0, 0.5, 1], 500)
    one, turned = calibration(p, truth), calibration(1 - p, 1 - truth)
    assert (one.brier, one.ece) == pytest.approx((turned.brier, turned.ece))


def test_a_judge_that_means_what_it_says_has_little_error_and_one_that_boasts_has_much():
    rng = np.random.default_rng(2)
    p = rng.random(20_000)
    truth = (rng.random(20_000) < p).astype(float)
    honest, boasting = calibration(p, truth), calibration(np.where(p > 0.5, 0.99, 0.01), truth)
    assert honest.ece < 0.02 < 0.2 < boasting.ece
    assert honest.brier_interval.low < 1 / 6 < honest.brier_interval.high  # E p(1 - p)
    assert honest.brier < boasting.brier


def test_rows_of_one_item_repeated_narrow_nothing():
    rng = np.random.default_rng(3)
    p, truth = rng.random(400), rng.integers(0, 2, 400)
    once = calibration(p, truth).brier_interval
    twice = calibration(np.repeat(p, 2), np.repeat(truth, 2), item=np.repeat(np.arange(400), 2)).brier_interval
    assert twice == pytest.approx(once)
    assert once.high - once.low == pytest.approx(
        2 * stats.t.ppf(0.975, 399) * ((p - truth) ** 2).std(ddof=1) / 20, rel=0.02
    )


def test_what_can_not_be_told_is_none_and_nonsense_is_refused():
    assert calibration([], []).brier is None
    assert calibration([np.nan], [1]).n == 0
    assert calibration([0.5], [1]).brier_interval is None
    with pytest.raises(ValueError, match="probability"):
        calibration([1.5], [1])
