"""Games between two policies: by hand, against the parts that they are made of, and what they must not depend on."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest

from prefloop.stats.head_to_head import Game, against_itself, games_for_people, head_to_head, with_people
from prefloop.stats.length_control import length_controlled
from prefloop.stats.ppi import win_rates
from prefloop.stats.winrate import win_rate_by_prompt


def a_board(seed: int, n_prompts: int, *, each: int = 3) -> list[Game]:
    rng = random.Random(seed)
    return [
        Game(prompt, float(rng.random() < 0.3 + 0.4 * (prompt % 2)), longer=rng.randint(-40, 60))
        for prompt in range(n_prompts)
        for _ in range(each)
    ]


def test_a_rate_by_hand_with_equal_answers_as_ties_and_what_nobody_read_left_out() -> None:
    games = [Game("a", 1.0), Game("a", 1.0), Game("b", None, same_answers=True), Game("b", 0.0), Game("c", None)]
    found = head_to_head(games)
    assert found.win_rate.rate == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert (found.n_games, found.n_prompts, found.n_undecided) == (4, 2, 1)


def test_the_interval_is_over_prompts_and_the_games_of_a_prompt_are_no_news() -> None:
    once = [Game(prompt, float(prompt < 14)) for prompt in range(20)]
    often = [game for game in once for _ in range(8)]
    few, many = head_to_head(once).win_rate, head_to_head(often).win_rate
    assert few.rate == many.rate == pytest.approx(0.7)
    assert few.interval is not None
    assert few.interval == many.interval
    assert few.interval == win_rate_by_prompt([game.score for game in once], range(20)).interval


def test_length_control_is_the_fit_of_the_same_games_clustered_by_prompt() -> None:
    games = a_board(3, 40)
    found = head_to_head(games)
    n = len(games)
    fit = length_controlled(
        np.zeros(n),
        np.ones(n),
        [game.score for game in games],
        [game.longer for game in games],
        n_players=2,
        item=[game.prompt for game in games],
    )
    assert found.length_controlled.rate == pytest.approx(float(fit.win_rate[0]))
    ends = found.length_controlled.interval
    assert ends is not None
    assert (ends.low, ends.high) == pytest.approx((float(fit.low[0]), float(fit.high[0])))
    assert found.why_not == ""


def test_a_win_by_length_alone_is_no_win_at_equal_lengths() -> None:
    """Ours is longer in three games of four, and the longer one wins four times in five."""
    rng = random.Random(1)
    games = []
    for prompt in range(600):
        longer = rng.random() < 0.75
        won = rng.random() < (0.8 if longer else 0.2)
        games.append(Game(prompt, float(won), longer=50 if longer else -50))
    found = head_to_head(games)
    assert found.win_rate.interval is not None
    assert found.win_rate.interval.low > 0.55
    assert found.length_controlled.rate == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("games", "said"),
    [
        ([], "no games"),
        ([Game(at, float(at % 2)) for at in range(6)], "all answers are equally long"),
        ([Game(at, 1.0, longer=at + 1) for at in range(6)], "."),  # it always won
    ],
)
def test_where_length_can_not_be_told_from_strength_it_says_why(games: list[Game], said: str) -> None:
    found = head_to_head(games)
    assert found.length_controlled.rate is None
    assert found.why_not
    assert said == "." or found.why_not == said


def test_turning_the_sides_round_turns_every_rate() -> None:
    games = a_board(5, 30)
    turned = [replace(game, score=1 - (game.score or 0.0), longer=-game.longer) for game in games]
    ours, theirs = head_to_head(games), head_to_head(turned)
    for one, other in ((ours.win_rate, theirs.win_rate), (ours.length_controlled, theirs.length_controlled)):
        assert one.rate is not None
        assert other.rate is not None
        assert one.interval is not None
        assert other.interval is not None
        assert one.rate + other.rate == pytest.approx(1)
        assert one.interval.low + other.interval.high == pytest.approx(1)


def test_a_policy_against_itself_is_a_half_that_nothing_was_estimated_for() -> None:
    found = against_itself(12, 4)
    assert found.win_rate.rate == found.length_controlled.rate == 0.5
    assert found.win_rate.interval == found.length_controlled.interval
    assert (found.n_games, found.n_prompts) == (12, 4)


# --- people ---


def test_with_one_game_a_prompt_it_is_the_prediction_powered_rate_of_these_games() -> None:
    games = [
        Game(at, float(at % 3 == 0), human=float(at % 4 == 0) if at < 15 else None)
        for at in range(60)
    ]  # fmt: skip
    found = with_people(games)
    nan = float("nan")
    wanted = win_rates([nan if g.human is None else g.human for g in games], [g.score or 0.0 for g in games])
    assert (found.n_games, found.human, found.both, found.judge_weight) == (15, wanted.human, wanted.both, wanted.lam)


def test_prompts_with_equal_answers_only_are_ties_that_narrow_the_rate() -> None:
    games = [Game(at, float(at % 2), human=float(at % 2) if at < 20 else None) for at in range(40)]
    settled = [*games, *(Game(f"same {at}", None, same_answers=True) for at in range(40))]
    before, after = with_people(games).both, with_people(settled).both
    assert before.rate is not None
    assert after.rate == pytest.approx(0.25 + before.rate / 2)
    assert before.interval is not None
    assert after.interval is not None
    assert after.interval.high - after.interval.low == pytest.approx((before.interval.high - before.interval.low) / 2)


@pytest.mark.slow
def test_people_correct_a_judge_who_is_biased_and_a_judge_helps_people() -> None:
    """A judge that is right four times in five and leans to ours; people saw 40 of 200 prompts, two games each had."""
    rng = random.Random(7)
    both, judge, people = [], [], []
    truth = 0.45
    for _ in range(300):
        games = []
        for prompt in range(200):
            level = min(max(rng.gauss(truth, 0.15), 0.0), 1.0)
            for _ in range(2):
                won = rng.random() < level
                said = won if rng.random() < 0.8 else True
                games.append(Game(prompt, float(said), human=float(won)))
        by_prompt = [[2 * prompt, 2 * prompt + 1] for prompt in range(200)]
        chosen = set(games_for_people(by_prompt, 40, seed=rng.randrange(10**9)))
        games = [game if at in chosen else replace(game, human=None) for at, game in enumerate(games)]
        found = with_people(games)
        both.append(found.both.rate or 0.0)
        people.append(found.human.rate or 0.0)
        judge.append(head_to_head(games).win_rate.rate or 0.0)
    error = stdev(both) / len(both) ** 0.5
    assert abs(fmean(both) - truth) < 4 * error
    assert fmean(judge) > truth + 0.05
    assert stdev(both) < 0.9 * stdev(people)


def test_people_get_one_game_of_each_prompt_before_a_second_of_any() -> None:
    games = [[10 * at + j for j in range(at % 4)] for at in range(20)]
    n_open = sum(1 for ids in games if ids)
    chosen = games_for_people(games, n_open, seed=1)
    assert len({key // 10 for key in chosen}) == n_open
    assert games_for_people(games, n_open, seed=1) == chosen
    assert games_for_people(games, n_open, seed=2) != chosen
    everything = games_for_people(games, 10_000, seed=1)
    assert sorted(everything) == sorted(key for ids in games for key in ids)
    assert games_for_people([], 3, seed=0) == []
