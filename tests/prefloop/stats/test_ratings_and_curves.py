"""Elo, win rates, best-of-n and biases."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloop.stats.best_of_n import best_of_n_law, best_of_n_weights, expected_best_of_n, kl_bound
from prefloop.stats.bias import first_slot
from prefloop.stats.elo import K_FACTOR, mean_elo, orders_for
from prefloop.stats.winrate import win_rate, win_rate_by_prompt

REFERENCE = np.array([0.10, 0.20, 0.30, 0.25, 0.15])
REWARD = np.array([0.0, 1.0, 0.5, 2.0, -1.0])


def test_elo_of_one_game_by_hand():
    # Equal ratings: expected 0.5, so the winner takes K/2 = 2 points.
    elo = mean_elo([0], [1], [1], n_players=2)
    assert elo.ratings == pytest.approx([1002, 998])


def test_mean_elo_tends_to_the_mean_over_every_order():
    a, b, s = [0, 1, 2, 0], [1, 2, 0, 1], [1.0, 1.0, 0.5, 0.0]

    def play(order):
        ratings = [1000.0] * 3
        for g in order:
            i, j = a[g], b[g]
            change = K_FACTOR * (s[g] - 1 / (1 + 10 ** ((ratings[j] - ratings[i]) / 400)))
            ratings[i] += change
            ratings[j] -= change
        return ratings

    exact = np.mean([play(order) for order in permutations(range(4))], axis=0)
    elo = mean_elo(a, b, s, n_players=3, n_orders=20_000, seed=1)
    assert elo.n_orders == 20_000
    assert elo.ratings == pytest.approx(exact, abs=2e-4)
    assert elo.ratings.sum() == pytest.approx(3000)


def test_elo_is_seeded_and_batches_do_not_show(monkeypatch):
    a, b, s = [0, 1, 2] * 5, [1, 2, 0] * 5, [1.0, 0.0, 1.0] * 5
    one = mean_elo(a, b, s, n_players=3, n_orders=64, seed=7)
    assert (one.ratings == mean_elo(a, b, s, n_players=3, n_orders=64, seed=7).ratings).all()
    monkeypatch.setattr("prefloop.stats.elo._BATCH_CELLS", 15 * 10)
    assert mean_elo(a, b, s, n_players=3, n_orders=64, seed=7).ratings == pytest.approx(one.ratings)


def test_many_games_are_played_in_fewer_orders():
    assert orders_for(10) == 10_000
    assert orders_for(0) == 10_000
    assert 1 <= orders_for(1_000_000) < 100


def test_win_rate_counts_ties_half():
    found = win_rate([1, 0.5, 0, 1])
    assert (found.n, found.rate) == (4, 0.625)
    assert found.interval is not None
    assert found.interval.low < 0.625 < found.interval.high
    assert (win_rate([]).rate, win_rate([]).interval) == (None, None)
    with pytest.raises(ValueError, match="score"):
        win_rate([2])


def test_games_of_one_prompt_count_as_one_draw():
    rng = np.random.default_rng(0)
    by_prompt = rng.integers(0, 2, 100).astype(float)
    alone = win_rate_by_prompt(by_prompt, np.arange(100))
    fourfold = win_rate_by_prompt(np.repeat(by_prompt, 4), np.repeat(np.arange(100), 4))
    assert fourfold.rate == alone.rate
    assert fourfold.interval == alone.interval
    assert alone.interval is not None
    wilson = win_rate(by_prompt).interval
    assert wilson is not None
    assert alone.interval.low == pytest.approx(wilson.low, abs=0.03)
    assert win_rate_by_prompt([1.0], ["p"]).interval is None
    assert win_rate_by_prompt([], []).rate is None


@pytest.mark.parametrize(
    ("n", "law", "kl"),
    [
        (2, (0.04, 0.26, 0.24, 0.4375, 0.0225), 0.1801553347),
        (4, (0.0034, 0.2249, 0.0876, 0.68359375, 0.00050625), 0.5918046335),
        (8, None, 1.0510222346),
    ],
)
def test_best_of_n_on_five_outcomes_is_the_published_law(n, law, kl):
    found = best_of_n_law(REFERENCE, REWARD, n)
    if law:
        assert found == pytest.approx(law, abs=1e-12)
    assert (found * np.log(found / REFERENCE)).sum() == pytest.approx(kl, abs=1e-9)
    assert kl < kl_bound(n)


def test_win_rate_and_reward_of_best_of_n_on_five_outcomes():
    beats = (REWARD[:, None] > REWARD) + 0.5 * (REWARD[:, None] == REWARD)
    for n, rate, reward in ((2, 0.6575, 1.2325), (4, 0.7800875, 1.63538125), (8, 0.8503781619, None)):
        law = best_of_n_law(REFERENCE, REWARD, n)
        assert law @ beats @ REFERENCE == pytest.approx(rate, abs=1e-10)
        assert reward is None or law @ REWARD == pytest.approx(reward, abs=1e-12)


def test_best_of_n_with_ties_is_what_enumeration_gives():
    p, r = np.array([0.1, 0.4, 0.3, 0.2]), np.array([1.0, 1.0, 0.0, 2.0])
    exact = np.zeros(4)
    for draws in product(range(4), repeat=3):
        best = [i for i in draws if r[i] == max(r[list(draws)])]
        for i in best:
            exact[i] += np.prod(p[list(draws)]) / len(best)
    assert best_of_n_law(p, r, 3) == pytest.approx(exact, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_best_of_m_of_best_of_n_is_best_of_mn(m, n, seed):
    rng = np.random.default_rng(seed)
    p, r = rng.dirichlet(np.ones(6)), rng.integers(0, 4, 6).astype(float)
    twice = best_of_n_law(best_of_n_law(p, r, n), r, m)
    assert twice == pytest.approx(best_of_n_law(p, r, m * n), abs=1e-12)
    assert best_of_n_law(p, r, 1) == pytest.approx(p, abs=1e-12)


def test_the_unbiased_estimator_gives_the_published_curve():
    proxy, gold = [0.3, 1.2, -0.5, 0.9, 2.2, 0.1], [1, 0, -1, 2, 0.5, 0.25]
    for n, value in ((1, 0.4583333), (2, 0.7166667), (3, 0.6), (6, 0.5)):
        assert expected_best_of_n(proxy, gold, n) == pytest.approx(value, abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 8).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, m))), st.integers(0, 2**32 - 1))
def test_the_unbiased_estimator_is_the_mean_over_all_subsets_ties_shared(mn, seed):
    m, n = mn
    rng = np.random.default_rng(seed)
    proxy, gold = rng.integers(0, 4, m), rng.normal(size=m)
    means = []
    for subset in combinations(range(m), n):
        # Which of the tied best is taken is random; over all subsets the tied share alike only at level means.
        top = max(proxy[list(subset)])
        means.append(gold[proxy == top].mean())
    assert expected_best_of_n(proxy, gold, n) == pytest.approx(np.mean(means), abs=1e-9)


def test_weights_hold_for_large_pools():
    weights = best_of_n_weights(5000, 1000)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(0.2, abs=1e-9)  # the best of all is in a subset with chance 1000/5000
    with pytest.raises(ValueError, match="pool"):
        best_of_n_weights(3, 4)


def test_the_kl_bound_is_the_closed_form():
    assert [kl_bound(n) for n in (2, 4, 8, 16, 64)] == pytest.approx(
        [0.193147, 0.636294, 1.204442, 1.835089, 3.174508], abs=1e-6
    )


def test_biases_are_counted_by_hand():
    #          first  second first  tie   bad   unparsed
    outcome = [0,     1,     0,     2,    3,    -2]  # fmt: skip
    swapped = [False, False, True, False, True, False]
    assert first_slot(outcome, swapped) == type(first_slot([], []))(n=3, k=1)
    assert first_slot([], []).rate is None
