from __future__ import annotations

import choix
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloop.stats.bradley_terry import Games, NotConverged, disconnection_reason, fit_bradley_terry
from prefloop.types import PrefloopError


def random_games(seed, n_players=4, n=200, first=0.0):
    rng = np.random.default_rng(seed)
    strength = rng.normal(size=n_players) * 0.7
    a = rng.integers(0, n_players, n)
    b = (a + rng.integers(1, n_players, n)) % n_players
    shown = rng.choice([-1, 1], n)
    p = 1 / (1 + np.exp(strength[b] - strength[a] - first * shown))
    return a, b, (rng.random(n) < p).astype(float), shown


def test_two_players_by_hand():
    # 3 wins to 1: strength difference log 3, each log(3)/2 from the mean.
    fit = fit_bradley_terry(Games.of([0, 1], [1, 0], [1, 1], count=[3, 1]), n_players=2)
    assert fit.log_strength == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-10)
    # The model is saturated: the sandwich is the plain error, var(difference) = 1/3 + 1/1, half a difference each.
    assert fit.se == pytest.approx([np.sqrt(4 / 3) / 2] * 2, abs=1e-9)
    interval = fit.interval(0)
    assert interval.high - interval.low == pytest.approx(2 * 1.959964 * np.sqrt(4 / 3) / 2, abs=1e-5)


def test_a_tie_is_half_a_win_each():
    tied = fit_bradley_terry(Games.of([0, 0, 1], [1, 1, 0], [1, 0.5, 1]), n_players=2)
    halves = fit_bradley_terry(Games.of([0, 1], [1, 0], [1, 1], count=[1.5, 1.5]), n_players=2)
    assert tied.log_strength == pytest.approx(halves.log_strength)
    assert tied.log_strength == pytest.approx([0, 0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_strengths_are_those_of_choix(seed, n_players):
    a, b, score, _ = random_games(seed, n_players, n=60)
    games = Games.of(a, b, score)
    if disconnection_reason(games, n_players=n_players):
        with pytest.raises(NotConverged):
            fit_bradley_terry(games, n_players=n_players)
        return
    wins = [(i, j) if s else (j, i) for i, j, s in zip(a.tolist(), b.tolist(), score, strict=True)]
    theirs = choix.ilsr_pairwise(n_players, wins, max_iter=100_000, tol=1e-13)
    ours = fit_bradley_terry(games, n_players=n_players)
    assert ours.log_strength == pytest.approx(theirs - theirs.mean(), abs=1e-8)
    # And at the maximum itself every player's expected wins equal the wins.
    p = 1 / (1 + np.exp(ours.log_strength[b] - ours.log_strength[a]))
    left = np.bincount(a, score - p, minlength=n_players) - np.bincount(b, score - p, minlength=n_players)
    assert np.abs(left).max() < 1e-8


@pytest.mark.parametrize("seed", range(4))
def test_strengths_errors_and_the_position_effect_are_those_of_a_robust_logistic_regression(seed):
    a, b, score, shown = random_games(seed, first=0.5)
    rows = np.arange(len(a))
    full = np.zeros((len(a), 4))
    full[rows, a], full[rows, b] = 1, -1
    # Contrast to player 3, then the mean-0 transform by hand.
    design = np.column_stack([full[:, :3], shown])
    theirs = sm.GLM(score, design, family=sm.families.Binomial()).fit(cov_type="HC0", tol=1e-14)
    to_mean = np.vstack([np.eye(3), np.zeros(3)]) - 0.25
    ours = fit_bradley_terry(Games.of(a, b, score, shown=shown), n_players=4, position=True)
    assert ours.log_strength == pytest.approx(to_mean @ theirs.params[:3], abs=1e-9)
    covariance = to_mean @ theirs.cov_params()[:3, :3] @ to_mean.T
    assert ours.se == pytest.approx(np.sqrt(np.diag(covariance)), abs=1e-9)
    assert ours.first == pytest.approx(theirs.params[3], abs=1e-9)
    assert ours.first_se == pytest.approx(theirs.bse[3], abs=1e-9)


def test_the_position_effect_that_was_put_in_is_found():
    a, b, score, shown = random_games(9, n=20_000, first=0.4)
    fit = fit_bradley_terry(Games.of(a, b, score, shown=shown), n_players=4, position=True)
    assert fit.first is not None
    assert fit.first_se is not None
    assert abs(fit.first - 0.4) < 3 * fit.first_se < 0.1


def test_lumping_turning_and_renaming_change_nothing():
    a, b, score, shown = random_games(5)
    fit = fit_bradley_terry(Games.of(a, b, score, shown=shown), n_players=4, position=True)
    turned = fit_bradley_terry(Games.of(b, a, 1 - score, shown=-shown), n_players=4, position=True)
    assert turned.log_strength == pytest.approx(fit.log_strength, abs=1e-9)
    assert turned.se == pytest.approx(fit.se, abs=1e-9)
    assert turned.first == pytest.approx(fit.first, abs=1e-9)
    order = np.array([2, 0, 3, 1])
    renamed = fit_bradley_terry(Games.of(order[a], order[b], score), n_players=4)
    plain = fit_bradley_terry(Games.of(a, b, score), n_players=4)
    assert renamed.log_strength[order] == pytest.approx(plain.log_strength, abs=1e-9)


@pytest.mark.parametrize(
    ("games", "n_players", "says"),
    [
        (([0], [1], [1]), 2, "not strongly connected"),
        (([0, 1, 2], [1, 0, 0], [1, 1, 1]), 3, "not strongly connected"),
        (([0, 1, 2, 3], [1, 0, 3, 2], [1, 1, 1, 1]), 4, "fall into 2 groups that never met"),
        (([], [], []), 2, "no games"),
        (([], [], []), 1, "fewer than two models"),
    ],
)
def test_strengths_that_do_not_exist_raise_with_the_reason(games, n_players, says):
    lumped = Games.of(*games)
    reason = disconnection_reason(lumped, n_players=n_players)
    assert reason is not None
    assert says in reason
    with pytest.raises(NotConverged, match=says) as caught:
        fit_bradley_terry(lumped, n_players=n_players)
    assert isinstance(caught.value, PrefloopError)


def test_a_judge_that_always_takes_the_first_slot_has_no_finite_position_effect():
    games = Games.of([0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0], shown=[1, -1, 1, -1])
    assert fit_bradley_terry(games, n_players=2).log_strength == pytest.approx([0, 0])
    with pytest.raises(NotConverged, match="no finite maximum"):
        fit_bradley_terry(games, n_players=2, position=True)


def test_an_order_that_never_changed_is_not_taken_for_strength():
    games = Games.of([0, 0], [1, 1], [1, 0], shown=[1, 1])
    with pytest.raises(NotConverged, match="can't be told"):
        fit_bradley_terry(games, n_players=2, position=True)


def test_games_that_are_no_games_are_refused():
    with pytest.raises(ValueError, match="different players"):
        Games.of([0], [0], [1])
    with pytest.raises(ValueError, match="score"):
        Games.of([0], [1], [2])
    with pytest.raises(ValueError, match="one length"):
        Games.of([0, 1], [1], [1])
