"""The mean of a table of seeds by prompts: its interval by hand, how often it holds the truth, and what it needs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from prefloop.stats.crossed import crossed_mean


def test_a_table_of_two_by_two_by_hand():
    found = crossed_mean([[0.0, 4.0], [2.0, 2.0]])
    # row means 2, 2; column means 1, 3; rest ±1 in every cell: mean squares 0, 4 and 4
    assert (found.mean, found.n_seeds, found.n_prompts) == (2.0, 2, 2)
    square = max(0 + 4 - 4, 0, 4)
    freedom = square**2 / (0 + 4**2 + 4**2)
    half = student.ppf(0.975, max(freedom, 1)) * (square / 4) ** 0.5
    assert found.interval.low == pytest.approx(2 - half)
    assert found.interval.high == pytest.approx(2 + half)


def test_seeds_that_agree_are_judged_by_the_prompts_alone():
    """A second road: with equal rows it is the ordinary interval of a mean over prompts."""
    prompts = np.random.default_rng(0).normal(size=40)
    found = crossed_mean(np.stack([prompts, prompts, prompts]))
    half = student.ppf(0.975, 39) * prompts.std(ddof=1) / 40**0.5
    assert found.interval.low == pytest.approx(prompts.mean() - half)


def test_prompts_that_agree_are_judged_by_the_seeds_alone():
    seeds = np.random.default_rng(1).normal(size=5)
    found = crossed_mean(np.repeat(seeds[:, None], 30, axis=1))
    half = student.ppf(0.975, 4) * seeds.std(ddof=1) / 5**0.5
    assert found.interval.high == pytest.approx(seeds.mean() + half)


@pytest.mark.parametrize("spread", [(0.02, 0.1, 0.2), (0.1, 0.1, 0.3), (0.0, 0.1, 0.2), (0.05, 0.0, 0.3)])
def test_an_interval_of_five_seeds_holds_the_truth_as_often_as_it_says(spread):
    rng = np.random.default_rng(7)
    of_seed, of_prompt, of_cell = spread
    hits = 0
    for _ in range(600):
        table = rng.normal(0, of_seed, (5, 1)) + rng.normal(0, of_prompt, (1, 48)) + rng.normal(0, of_cell, (5, 48))
        interval = crossed_mean(table).interval
        hits += interval.low <= 0 <= interval.high
    assert hits / 600 >= 0.925  # 0.95 less two and a half standard errors


def test_one_seed_says_nothing_about_the_next():
    assert crossed_mean([[1.0, 2.0, 3.0]]).interval is None
    assert crossed_mean([[1.0], [2.0]]).interval is None


@pytest.mark.parametrize("table", [[], [1.0, 2.0], [[1.0, float("nan")]]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(ValueError, match="table of seeds"):
        crossed_mean(table)
