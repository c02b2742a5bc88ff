"""Two versions on the same comparisons: the difference and its interval over prompts."""

from __future__ import annotations

import numpy as np
import pytest

from prefloop.stats.paired import paired_shares


def test_a_small_case_by_hand():
    """Prompt p: 2 pairs, hits 1 + 0 before and 1 + 1 after; prompt q: one pair, 0.5 before and 1 after."""
    found = paired_shares([("p", 1, 1), ("p", 0, 1), ("q", 0.5, 1)])
    assert (found.before, found.after, found.n, found.n_prompts) == (0.5, 1.0, 3, 2)
    assert found.difference == pytest.approx(0.5)


def test_the_interval_matches_the_spread_between_prompts():
    """A second road: with one pair a prompt it is the paired t interval, to the accuracy of a bootstrap."""
    rng = np.random.default_rng(3)
    before = (rng.random(200) < 0.6).astype(float)
    after = np.where(rng.random(200) < 0.2, 1.0, before)
    found = paired_shares([(n, b, a) for n, (b, a) in enumerate(zip(before, after, strict=True))], n_bootstrap=20_000)
    d = after - before
    half = 1.972 * d.std(ddof=1) / np.sqrt(200)
    assert found.difference_ci95.low == pytest.approx(d.mean() - half, abs=0.008)
    assert found.difference_ci95.high == pytest.approx(d.mean() + half, abs=0.008)


def test_pairs_of_one_prompt_count_as_one():
    """Ten copies of a prompt's pairs add no information."""
    rows = [(n, n % 2, (n % 3) > 0) for n in range(30)]
    once, often = paired_shares(rows), paired_shares(rows * 10)
    assert once.difference_ci95.low == pytest.approx(often.difference_ci95.low)
    assert often.n == 10 * once.n


def test_equal_versions_are_not_surely_equal():
    found = paired_shares([(n, 1, 1) for n in range(20)])
    assert found.difference == 0
    assert found.difference_ci95.low == -found.difference_ci95.high
    assert found.difference_ci95.high == pytest.approx(0.161, abs=0.001)  # Wilson: 0 of 20
    assert paired_shares([("p", 0, 1)]).difference_ci95 is None
    assert paired_shares([]) is None


@pytest.mark.slow
def test_it_covers_the_truth():
    """95 % intervals of a known difference contain it about 95 times in 100, with 25 prompts too."""
    rng = np.random.default_rng(0)
    n_in = 0
    for seed in range(400):
        before = (rng.random(25) < 0.6).astype(float)
        after = np.where(rng.random(25) < 0.5, (rng.random(25) < 0.8).astype(float), before)
        rows = [(n, b, a) for n, (b, a) in enumerate(zip(before, after, strict=True))]
        interval = paired_shares(rows, n_bootstrap=1000, seed=seed).difference_ci95
        n_in += interval.low <= 0.1 <= interval.high
    assert 370 <= n_in <= 396
