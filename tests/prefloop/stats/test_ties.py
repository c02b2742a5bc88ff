"""Bradley–Terry with ties: by hand, against the likelihood written out and searched, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from prefloop.stats.bradley_terry import Games, NotConverged
from prefloop.stats.ties import fit_with_ties

MODELS = ("davidson", "rao-kupper")


def _games(seed, n_players=4, n=300):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, n_players, n)
    b = (a + rng.integers(1, n_players, n)) % n_players
    score = rng.choice([0.0, 0.5, 1.0], n, p=[0.3, 0.25, 0.45])
    return a, b, score


@pytest.mark.parametrize("model", MODELS)
def test_two_players_by_hand(model):
    """6 wins, 3 ties, 3 losses: three free shares for two parameters, so that the shares themselves come out."""
    fit = fit_with_ties(Games.of([0, 0, 0], [1, 1, 1], [1, 0.5, 0], count=[6, 3, 3]), n_players=2, model=model)
    d = fit.log_strength[0] - fit.log_strength[1]
    if model == "davidson":  # e^d = 6/3, and ν = 3 / sqrt(6 · 3)
        assert (d, np.exp(fit.tie)) == pytest.approx((np.log(2), 3 / 18**0.5))
    else:  # logistic(d - τ) = ½ and logistic(-d - τ) = ¼
        assert (d - fit.tie, -d - fit.tie) == pytest.approx((0.0, -np.log(3)))


def _minus_log_likelihood(theta, a, b, score, model):
    s = theta[:-1] - theta[:-1].mean()
    first, second = np.exp(s[a]), np.exp(s[b])
    if model == "davidson":
        tie = np.exp(theta[-1]) * np.sqrt(first * second)
        p = np.choose(np.rint(2 * score).astype(int), [second, tie, first]) / (first + second + tie)
    else:
        t = np.exp(theta[-1])
        win, loss = first / (first + t * second), second / (second + t * first)
        p = np.choose(np.rint(2 * score).astype(int), [loss, 1 - win - loss, win])
    return -np.log(p).sum()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_maximum_is_where_a_search_finds_it(model, seed):
    a, b, score = _games(seed)
    fit = fit_with_ties(Games.of(a, b, score), n_players=4, model=model)
    found = minimize(
        _minus_log_likelihood, np.array([0.0] * 4 + [0.5]), args=(a, b, score, model), method="BFGS", tol=1e-10
    )
    assert fit.log_strength == pytest.approx(found.x[:4] - found.x[:4].mean(), abs=1e-4)
    assert fit.tie == pytest.approx(found.x[4], abs=1e-4)
    ours = np.append(fit.log_strength, fit.tie)
    assert _minus_log_likelihood(ours, a, b, score, model) <= found.fun + 1e-7


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_who_is_named_first_and_how_games_are_lumped_change_nothing(model, seed):
    a, b, score = _games(seed, n=120)
    fit = fit_with_ties(Games.of(a, b, score), n_players=4, model=model)
    turned = fit_with_ties(Games.of(b, a, 1 - score), n_players=4, model=model)
    assert fit.log_strength == pytest.approx(turned.log_strength, abs=1e-8)
    assert (fit.tie, fit.tie_se) == pytest.approx((turned.tie, turned.tie_se), abs=1e-8)
    twice = fit_with_ties(Games.of(a, b, score, count=np.full(len(a), 2.0)), n_players=4, model=model)
    assert twice.se == pytest.approx(fit.se / 2**0.5, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_standard_errors_are_those_of_the_spread_over_resamples(model):
    a, b, score = _games(7, n=400)
    fit = fit_with_ties(Games.of(a, b, score), n_players=4, model=model)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(150):
        at = rng.integers(0, 400, 400)
        again = fit_with_ties(Games.of(a[at], b[at], score[at]), n_players=4, model=model)
        draws.append(np.append(again.log_strength, again.tie))
    assert np.std(draws, axis=0) == pytest.approx(np.append(fit.se, fit.tie_se), rel=0.2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("score", "says"),
    [([1.0, 0.0], "no game was a tie"), ([0.5, 0.5], "every game"), ([1.0, 1.0], "strongly connected")],
)
def test_what_has_no_maximum_says_so(model, score, says):
    with pytest.raises(NotConverged, match=says):
        fit_with_ties(Games.of([0, 0], [1, 1], score), n_players=2, model=model)
