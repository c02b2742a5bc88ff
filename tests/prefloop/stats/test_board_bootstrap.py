"""The bootstrap of strengths: against refitting by hand, its spread against the sandwich, and what has no strengths."""

from __future__ import annotations

import numpy as np
import pytest

from prefloop.stats.board_bootstrap import bootstrap_strengths, strength_intervals
from prefloop.stats.bradley_terry import Games, NotConverged, fit_bradley_terry


def _games(seed, *, n_players=5, n_items=400, a_item=2):
    rng = np.random.default_rng(seed)
    strength = np.linspace(-1, 1, n_players)
    a = rng.integers(0, n_players, n_items)
    b = (a + rng.integers(1, n_players, n_items)) % n_players
    item, a, b = (np.repeat(c, a_item) for c in (np.arange(n_items), a, b))
    p = 1 / (1 + np.exp(strength[b] - strength[a]))
    return item, a, b, (rng.random(len(a)) < p).astype(float)


def test_each_resample_is_the_fit_of_its_own_games(monkeypatch):
    """A second road: the same draws, every game written out, one ordinary fit each."""
    item, a, b, score = _games(0, n_items=300)
    score = np.where(np.arange(len(score)) % 7 == 0, 0.5, score)
    drawn = []
    real = np.random.default_rng

    class Recorder:
        def __init__(self, seed):
            self.rng = real(seed)

        def integers(self, *args, **kwargs):
            drawn.append(self.rng.integers(*args, **kwargs))
            return drawn[-1]

    monkeypatch.setattr(np.random, "default_rng", Recorder)
    strengths = bootstrap_strengths(item, a, b, score, n_players=5, n_bootstrap=20, seed=3)
    # items are drawn in the order of their pair and of what its first player won
    won = np.bincount(item, np.where(a < b, score, 1 - score))
    pair = np.minimum(a, b)[::2] * 5 + np.maximum(a, b)[::2]
    order = np.lexsort((won, pair))
    for row, places in enumerate(drawn):
        count = np.zeros(300)
        count[order] = np.bincount(places, minlength=300)
        games = Games.of(a, b, score, count=count[item])
        assert strengths[row] == pytest.approx(fit_bradley_terry(games, n_players=5).log_strength, abs=1e-8)


def test_the_spread_is_the_sandwichs_where_items_are_single_games():
    item, a, b, score = _games(1, n_items=1500, a_item=1)
    strengths = bootstrap_strengths(item, a, b, score, n_players=5, n_bootstrap=600)
    fit = fit_bradley_terry(Games.of(a, b, score), n_players=5)
    assert strengths.std(axis=0) == pytest.approx(fit.se, rel=0.12)
    assert strengths.mean(axis=1) == pytest.approx(np.zeros(600), abs=1e-12)
    for player, interval in enumerate(strength_intervals(strengths)):
        assert interval.low < fit.log_strength[player] < interval.high


def test_repeating_every_game_of_an_item_narrows_nothing():
    item, a, b, score = _games(2, a_item=1)
    once = bootstrap_strengths(item, a, b, score, n_players=5, n_bootstrap=200, seed=1)
    twice = bootstrap_strengths(
        np.repeat(item, 2), np.repeat(a, 2), np.repeat(b, 2), np.repeat(score, 2), n_players=5, n_bootstrap=200, seed=1
    )
    assert once == pytest.approx(twice, abs=1e-7)


def test_an_item_may_hold_games_of_several_pairs():
    rng = np.random.default_rng(3)
    _, a, b, score = _games(3, n_items=200, a_item=1)
    prompt = rng.integers(0, 60, 200)  # a prompt with several comparisons is one item
    strengths = bootstrap_strengths(prompt, a, b, score, n_players=5, n_bootstrap=300)
    shuffled = rng.permutation(200)
    again = bootstrap_strengths(
        prompt[shuffled], a[shuffled], b[shuffled], score[shuffled], n_players=5, n_bootstrap=300
    )
    assert strengths == pytest.approx(again, abs=1e-7)


def test_resamples_without_strengths_are_nan_and_too_many_make_no_interval():
    item = np.arange(12)
    score = np.array([1.0] * 11 + [0.0])
    strengths = bootstrap_strengths(item, np.zeros(12), np.ones(12), score, n_players=2, n_bootstrap=400)
    lost = np.isnan(strengths[:, 0]).mean()
    assert lost == pytest.approx((11 / 12) ** 12, abs=0.07)  # the one loss is not drawn
    assert strength_intervals(strengths)[0] is not None
    assert strength_intervals(np.where(np.arange(400)[:, None] < 250, np.nan, strengths))[0] is None
    with pytest.raises(NotConverged, match="strongly connected"):
        bootstrap_strengths(item, np.zeros(12), np.ones(12), np.ones(12), n_players=2, n_bootstrap=5)
