"""Prediction-powered win rates: by hand, against the formulas written out, and coverage over thousands of projects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from prefloop.stats.ppi import MIN_HUMAN, labels_needed, ppi_means, win_rates


def test_four_human_labels_and_four_of_the_judge_by_hand():
    # λ = 1: mean of the judge's own is 0.5; people less judge is (0, 0, 1, 0), mean ¼; together ¾
    found = ppi_means([1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0], lam=1.0)
    assert float(found.estimate) == pytest.approx(0.75)
    # variances: (0, 0, 1, 0) has 1/4, over 4; (1, 0, 1, 0) has 1/3, over 4
    assert float(found.se) == pytest.approx(((1 / 4) / 4 + (1 / 3) / 4) ** 0.5)
    half = student.ppf(0.975, 3) * float(found.se)
    assert (float(found.low), float(found.high)) == pytest.approx((0.75 - half, 0.75 + half))


def test_without_the_judge_it_is_the_human_mean():
    rng = np.random.default_rng(0)
    human, judge = rng.integers(0, 2, 40), rng.integers(0, 2, 40)
    for more in ([], rng.integers(0, 2, 60)):
        found = ppi_means(human, judge, more, lam=0.0)
        assert float(found.estimate) == pytest.approx(human.mean())
        assert float(found.se) == pytest.approx(human.std(ddof=1) / 40**0.5)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(5, 200))
def test_the_tuned_weight_is_the_one_of_least_variance(seed, n, more):
    """A second road: the variance over a grid of weights, and the estimate of each project by itself."""
    rng = np.random.default_rng(seed)
    human = rng.integers(0, 3, (3, n)) / 2
    judge = np.where(rng.random((3, n)) < 0.7, human, rng.integers(0, 3, (3, n)) / 2)
    rest = rng.integers(0, 3, (3, more)) / 2
    tuned = ppi_means(human, judge, rest)
    for row in range(3):
        alone = ppi_means(human[row], judge[row], rest[row])
        assert float(alone.estimate) == pytest.approx(float(tuned.estimate[row]))
        lam = float(tuned.lam[row])
        again = np.mean(human[row] - lam * judge[row]) + lam * rest[row].mean()
        assert float(alone.estimate) == pytest.approx(again)
        # the weight minimises the variance with the judge's spread taken over all its labels, as the paper does
        everything = np.concatenate([judge[row], rest[row]]).var(ddof=1)
        cov = np.cov(human[row], judge[row])[0, 1]
        grid = np.linspace(0, 1, 401)
        variance = grid**2 * everything * (1 / more + 1 / n) - 2 * grid * cov / n
        assert lam == pytest.approx(grid[variance.argmin()], abs=0.003) or everything == 0


def _projects(rng, n_projects, n, more, *, true=0.6, agree=0.8, lean=0.9):
    """Projects where the judge repeats the person's label `agree` of the time, and else says "win" `lean` of it."""
    score = (rng.random((n_projects, n + more)) < true).astype(float)
    said = np.where(rng.random(score.shape) < agree, score, rng.random(score.shape) < lean)
    return score[:, :n], said[:, :n], said[:, n:]


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 250])
def test_intervals_of_two_thousand_projects_with_a_biased_judge_cover_and_are_narrower(n):
    human, judge, rest = _projects(np.random.default_rng(n), 2000, n, 2000)
    assert rest.mean() == pytest.approx(0.6 * 0.8 + 0.2 * 0.9, abs=0.01)  # 0.66: the judge alone is wrong by 0.06
    both, people = ppi_means(human, judge, rest), ppi_means(human, judge, rest, lam=0.0)
    covered = ((both.low <= 0.6) & (both.high >= 0.6)).mean()
    assert 0.93 <= covered <= 0.97
    assert 0.93 <= ((people.low <= 0.6) & (people.high >= 0.6)).mean() <= 0.97
    assert ((both.high - both.low) < (people.high - people.low)).mean() > 0.99
    # theory: with ρ the width shrinks to about sqrt(1 - ρ² N / (n + N)) of people's
    rho = np.corrcoef(human.ravel(), judge.ravel())[0, 1]
    shrunk = (both.high - both.low).mean() / (people.high - people.low).mean()
    assert shrunk == pytest.approx((1 - rho**2 * 2000 / (2000 + n)) ** 0.5, abs=0.02)


def test_a_judge_that_knows_nothing_costs_nothing():
    rng = np.random.default_rng(1)
    human = (rng.random((500, 150)) < 0.6).astype(float)
    judge, rest = (rng.random((500, m)) < 0.5 for m in (150, 1000))
    both, people = ppi_means(human, judge, rest), ppi_means(human, judge, rest, lam=0.0)
    assert both.lam.mean() < 0.08
    assert (both.se / people.se).mean() == pytest.approx(1.0, abs=0.01)


def test_labels_needed_by_hand():
    # people only: σ² = ¼, ± 0.05: ¼ · (1.96 / 0.05)² = 384.1
    assert labels_needed(0.05, variance=0.25, correlation=0.0, n_comparisons=10_000) == 385
    # ρ² = ½ of many comparisons: half of it, and the judge's own spread a little more
    assert labels_needed(0.05, variance=0.25, correlation=0.5**0.5, n_comparisons=10**9) == 193
    assert labels_needed(0.05, variance=0.25, correlation=0.9, n_comparisons=300) is None  # all 300 by hand: ± 0.057
    assert labels_needed(0.5, variance=0.25, correlation=1.0, n_comparisons=100) == 2


def test_the_labels_that_were_asked_for_give_the_width():
    """A property: with as many labels as it says, the interval is as wide as wanted."""
    rng = np.random.default_rng(2)
    human, judge, rest = _projects(rng, 200, 120, 4000)
    rho = float(np.corrcoef(human.ravel(), judge.ravel())[0, 1])
    n = labels_needed(0.03, variance=0.24, correlation=rho, n_comparisons=4120)
    assert n is not None
    human, judge, rest = _projects(rng, 200, n, 4120 - n)
    found = ppi_means(human, judge, rest)
    assert ((found.high - found.low) / 2).mean() == pytest.approx(0.03, rel=0.02)


def test_win_rates_tell_apart_what_people_and_the_judge_said():
    rng = np.random.default_rng(3)
    human, judge, rest = (row[0] for row in _projects(rng, 1, 120, 900))
    y = np.concatenate([human, np.full(900, np.nan), [1.0]])
    f = np.concatenate([judge, rest, [np.nan]])
    found = win_rates(y, f)
    assert (found.human.n, found.judge.n, found.both.n, found.n_comparisons) == (121, 1020, 120, 1021)
    direct = ppi_means(human, judge, rest)
    assert found.both.rate == pytest.approx(float(direct.estimate))
    assert found.both.interval.low == pytest.approx(float(direct.low), abs=0.01)  # Wilson's, with the same variance
    # more for a narrower interval; none where it is wide enough already
    assert found.more_labels(0.04) > found.more_labels(0.05) > 0 == found.more_labels(0.2)
    # what people said where the judge is mute takes no bias out
    mute = win_rates(np.append(y, [1.0] * 50), np.append(f, [np.nan] * 50))
    assert mute.more_labels(0.04) == found.more_labels(0.04)


@pytest.mark.parametrize(
    ("human", "judge"),
    [
        ([], []),
        ([np.nan] * 5, [1.0] * 5),
        ([1.0] * 4, [1.0] * 4),
        ([1.0, 0.0], [1.0, 1.0]),
        ([1.0] * 30, [np.nan] * 30),
    ],
)
def test_what_can_not_be_told_is_none_and_never_nan(human, judge):
    found = win_rates(human, judge)
    for rate in (found.human, found.judge, found.both):
        assert rate.rate is None or 0 <= rate.rate <= 1
        assert rate.interval is None or rate.n >= MIN_HUMAN
    assert found.both.interval is None
    assert found.more_labels(0.05) is None
