"""Scores through a tournament: who meets, and what the games come to."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from prefloop.judging.tournament import ALL_MEET, Game, game_of, meetings, n_meetings, strengths
from prefloop.judging.verdicts import EffectiveLabel


def test_up_to_eight_answers_all_meet_all():
    assert meetings(4, seed=3) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert n_meetings(8) == 28
    assert meetings(1, seed=0) == []


@pytest.mark.parametrize("n", [9, 16, 33])
def test_of_more_each_meets_eight_others_and_nobody_twice(n):
    met = meetings(n, seed=7)
    assert len(set(met)) == len(met) == n_meetings(n)
    assert set(Counter(place for pair in met for place in pair).values()) == {ALL_MEET}
    assert met != meetings(n, seed=8) or n == 9  # nine answers that meet eight others all meet all


def test_two_answers_strengths_solve_the_score_equation():
    """One win: s = 1 - σ(2 s) for the winner, the loser's its negative."""
    won, lost = strengths(2, [Game(0, 1, 1.0)])
    assert won == pytest.approx(1 - 1 / (1 + math.exp(-2 * won)), abs=1e-10)
    assert lost == pytest.approx(-won, abs=1e-10)


def test_strengths_order_as_the_games_do_and_sum_to_nothing():
    games = [Game(i, j, 1.0) for i in range(5) for j in range(i + 1, 5)]
    found = strengths(5, games)
    assert found == sorted(found, reverse=True)
    assert sum(found) == pytest.approx(0, abs=1e-9)
    # the place that an answer is listed at says nothing
    turned = strengths(5, [Game(4 - game.i, 4 - game.j, game.p) for game in games])
    assert turned == pytest.approx(found[::-1], abs=1e-9)


def test_a_tie_is_half_a_win_and_an_answer_that_met_nobody_has_no_score():
    assert strengths(3, [Game(0, 1, 0.5)]) == [pytest.approx(0.0), pytest.approx(0.0), None]
    assert strengths(2, []) == [None, None]


def test_a_label_is_a_game_only_where_the_judge_decided():
    assert game_of(0, 1, EffectiveLabel("ok", "first", 0.8)) == Game(0, 1, 0.8)
    assert game_of(0, 1, EffectiveLabel("ok", "second")) == Game(0, 1, 0.0)
    assert game_of(0, 1, EffectiveLabel("ok", "both_bad")) == Game(0, 1, 0.5)
    assert game_of(0, 1, EffectiveLabel("inconsistent")) is None
    assert game_of(0, 1, EffectiveLabel("unparseable")) is None
