"""Nominal 95 % intervals hold the truth in about 95 of 100 simulated projects, however many verdicts an item has."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import binom

from prefloop.stats.bradley_terry import Games, fit_bradley_terry
from prefloop.stats.clusters import Played
from prefloop.stats.coverage import simulate
from prefloop.stats.games import Game
from prefloop.stats.intervals import cluster_spread, mean_interval, share_interval, wilson_interval
from prefloop.stats.leaderboard import leaderboard_report
from prefloop.stats.ppi import win_rates

# too wide where they are off, as the pages say: few rows of an item enter them, or all items fare alike
WIDE = {"calibration bin", "first_slot", "self_preference", "self_preference excess", "order_consistency"}


@pytest.mark.slow
def test_six_verdicts_a_comparison_make_no_interval_too_narrow():
    found = simulate(n_items=40, n_verdicts=6, n_projects=40, n_bootstrap=100)
    assert len(found) > 18
    for name, (covered, _) in found.items():
        # models and judges of one project are not independent: as many tries as projects
        assert covered * 40 >= binom.ppf(0.0005, 40, 0.94), name


@pytest.mark.slow
@pytest.mark.parametrize("n_verdicts", [1, 2, 6])
def test_every_interval_of_the_reports_covers(n_verdicts):
    found = simulate(n_items=60, n_verdicts=n_verdicts, n_projects=300, seed=n_verdicts)
    for name, (covered, _) in found.items():
        slack = 2.6 * (0.05 * 0.95 / 300) ** 0.5
        assert covered >= 0.93 - slack, name
        assert covered <= 0.97 + slack or name in WIDE, name


@pytest.mark.parametrize("n_items", [5, 10, 30])
@pytest.mark.parametrize("n_verdicts", [1, 2, 6])
def test_a_share_of_few_items_covers(n_items, n_verdicts):
    rng = np.random.default_rng(n_items)
    rate = rng.uniform(0.5, 0.85, (1500, 1))  # of many rates, for of one whole numbers make it a matter of luck
    hits = rng.binomial(n_verdicts, rng.beta(2 * rate, 2 - 2 * rate, (1500, n_items)))
    ends = [share_interval(row, np.full(n_items, n_verdicts)) for row in hits]
    covered = np.mean([end.low <= at <= end.high for end, at in zip(ends, rate.ravel(), strict=True)])
    assert covered > 0.93
    assert n_items < 30 or covered < 0.97


def test_the_spread_is_the_cluster_robust_error_of_statsmodels():
    rng = np.random.default_rng(0)
    owner = np.sort(rng.integers(0, 25, 90))
    y = rng.normal(size=25)[owner] + rng.normal(size=90)
    fit = sm.OLS(y, np.ones(90)).fit(
        cov_type="cluster", cov_kwds={"groups": owner, "use_correction": False}, use_t=True
    )
    n = np.bincount(owner, minlength=25)
    spread = cluster_spread(np.bincount(owner, y, 25), n)
    m = spread.n_items
    assert spread.variance * (m - 1) / m == pytest.approx(float(fit.bse[0]) ** 2)
    ends = mean_interval(np.bincount(owner, y, 25), n)
    assert ends.low < y.mean() < ends.high


@pytest.mark.parametrize("mixed", [False, True])
def test_strengths_have_the_cluster_robust_errors_of_statsmodels(mixed):
    """A second road: logistic regression on players' dummies; items of one pair, and of several."""
    rng = np.random.default_rng(1)
    item = np.repeat(np.arange(80), 4)
    a = rng.integers(0, 3, 320 if mixed else 80)
    b = (a + rng.integers(1, 3, len(a))) % 3
    if not mixed:
        a, b = a[item], b[item]
    shown, score = rng.choice([-1.0, 1.0], 320), (rng.random(80)[item] < 0.5 + 0.1 * (b - a)).astype(float)
    played = Played.of(item, a, b, score, shown)
    assert played.same_pair is not mixed
    fit = fit_bradley_terry(Games.of(a, b, score, shown=shown), n_players=3, position=True, played=played)
    x = np.stack([(a == k) * 1.0 - (b == k) for k in (1, 2)] + [shown], axis=1)
    other = sm.GLM(score, x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": item, "use_correction": False}
    )
    c = fit.covariance
    assert c[1, 1] + c[0, 0] - 2 * c[0, 1] == pytest.approx(other.bse[0] ** 2, rel=1e-6)
    assert fit.first_se == pytest.approx(other.bse[2], rel=1e-6)


def test_where_all_fare_alike_an_interval_is_as_wide_as_items_allow():
    assert share_interval([0, 0, 0], [1, 1, 1]) == wilson_interval(0, 3)
    assert share_interval([6, 6, 6], [6, 6, 6]) == wilson_interval(3, 3)
    assert share_interval([1, 1, 1], [2, 2, 2]) == wilson_interval(1.5, 3)
    assert share_interval([1], [2]) is None


def test_a_board_of_ties_only_has_intervals():
    games = [Game("x", "y", "tie", item=i) for i in range(20) for _ in range(6)]
    for model in leaderboard_report(project="p", source="all", games=games, n_orders=1, n_bootstrap=50)["models"]:
        assert model["bt"] == 0
        # twenty tosses: var(log-odds) = 4 / 20, half of the difference each
        assert model["bt_se"] == pytest.approx((4 / 20) ** 0.5 / 2)
        assert model["bt_ci95"][0] < -0.4 < 0.4 < model["bt_ci95"][1]
        assert model["win_rate_ci95"][0] < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 0.7, 0.85])
def test_ten_votes_and_many_verdicts_cover(rate):
    rng = np.random.default_rng(4)
    held = []
    for _ in range(500):
        y = (rng.random(300) < rate).astype(float)
        f = np.where(rng.random(300) < 0.8, y, rng.random(300) < 0.8)
        y[10:] = np.nan
        ends = win_rates(y, f).both.interval
        held.append(ends.low <= rate <= ends.high)
    assert np.mean(held) > 0.93
