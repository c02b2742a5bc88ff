from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from prefloop.stats import agreement
from prefloop.stats.intervals import (
    bootstrap_interval,
    bootstrap_sums,
    lump,
    percentile_interval,
    ratio,
    wilson_interval,
)


def test_wilson_of_eight_in_ten_by_hand():
    # z² = 3.841459; centre (0.8 + .19207)/(1.38415) = .716743; half 1.959964*sqrt(.016+.0096036)/1.38415 = .226577
    interval = wilson_interval(8, 10)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=2e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_wilson_is_that_of_statsmodels(kn, confidence):
    k, n = kn
    interval = wilson_interval(k, n, confidence=confidence)
    assert interval is not None
    low, high = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)
    assert 0.0 <= interval.low <= k / n <= interval.high <= 1.0


def test_wilson_of_nothing_is_none():
    assert wilson_interval(0, 0) is None
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_lumping_keeps_every_item(n, d, top, seed):
    rows = np.random.default_rng(seed).integers(0, top, size=(n, d))
    lumped = lump(rows)
    again = np.repeat(lumped.rows.astype(int), lumped.counts, axis=0)
    assert sorted(map(tuple, again)) == sorted(map(tuple, rows))
    with_floats = lump(rows + 0.5)
    assert with_floats.n_items == n
    assert with_floats.counts @ with_floats.rows == pytest.approx((rows + 0.5).sum(axis=0))


def test_the_bootstrap_of_a_share_has_the_binomials_mean_and_spread_lumped_or_not():
    # 30 of 50: resampled sums are Binomial(50, 0.6): mean 30, standard deviation sqrt(12) = 3.4641
    right = np.array([[1]] * 30 + [[0]] * 20)
    distinct = right + np.linspace(0, 1e-9, 50)[:, None]  # no two rows equal: the other road through the code
    for statistics in (right, distinct):
        sums = bootstrap_sums(statistics, n_bootstrap=20_000, seed=3)[:, 0]
        assert sums.mean() == pytest.approx(30, abs=0.1)
        assert sums.std() == pytest.approx(12**0.5, abs=0.08)


def test_the_same_seed_gives_the_same_bootstrap_and_another_seed_another():
    rows = np.arange(20).reshape(10, 2)
    assert (bootstrap_sums(rows, seed=5) == bootstrap_sums(rows, seed=5)).all()
    assert (bootstrap_sums(rows, seed=5) != bootstrap_sums(rows, seed=6)).any()


def test_items_are_drawn_whole_so_repeating_every_verdict_narrows_nothing():
    right = np.random.default_rng(0).integers(0, 2, size=200)
    single = bootstrap_interval(np.stack([right, np.ones(200, int)], 1), ratio, seed=1)
    tenfold = bootstrap_interval(np.stack([10 * right, 10 * np.ones(200, int)], 1), ratio, seed=1)
    assert single == tenfold


def test_a_difference_of_judges_on_the_same_items_is_surer_than_on_items_of_their_own():
    rng = np.random.default_rng(2)
    hard = rng.random(500)
    a, b = (hard < 0.8).astype(int), (hard < 0.7).astype(int)  # b is right only where a is
    n = np.ones(500, int)
    paired = bootstrap_interval(np.stack([a, n, b, n], 1), lambda s: ratio(s[:, :2]) - ratio(s[:, 2:]), seed=0)
    drawn = [bootstrap_sums(np.stack([right, n], 1), n_bootstrap=1000, seed=seed) for seed, right in enumerate((a, b))]
    apart = percentile_interval(ratio(drawn[0]) - ratio(drawn[1]))
    assert paired is not None
    assert apart is not None
    assert paired.low > 0
    assert paired.high - paired.low < 0.7 * (apart.high - apart.low)


def test_replicates_without_a_value_are_left_out_and_too_many_of_them_make_none():
    assert percentile_interval([np.nan, 1.0, 1.0]) is not None
    assert percentile_interval([np.nan, np.nan, 1.0]) is None
    assert percentile_interval([]) is None
    assert bootstrap_interval(np.zeros((0, 2), int), ratio) is None


@pytest.mark.slow
def test_a_thousand_bootstraps_of_kappa_over_a_million_verdicts_take_seconds():
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 16, size=(500_000, 2))
    start = time.perf_counter()
    tables = np.bincount((np.arange(500_000)[:, None] * 16 + cells).ravel(), minlength=8_000_000).reshape(-1, 16)
    sums = bootstrap_sums(tables, n_bootstrap=1000)
    kappas = agreement.kappas(sums.reshape(-1, 4, 4))
    assert time.perf_counter() - start < 20
    assert kappas.std() == pytest.approx(1 / np.sqrt(3 * 1e6), rel=0.2)  # chance kappa over k=4: sd 1/sqrt((k-1) n)
