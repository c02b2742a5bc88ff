"""Alarms: by hand, by a second road, and what must hold of every series."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from prefloop.stats.alarms import (
    Alarm,
    Mean,
    chosen_falls,
    entropy_collapses,
    judge_diverges,
    kl_over,
    length_grows,
    window_shift,
)
from prefloop.stats.best_of_n import kl_bound

RNG = np.random.default_rng(20240611)


def test_a_shift_by_hand():
    shift = window_shift([1, 1, 3, 3, *[9] * 12, 5, 5, 7, 7])
    assert (shift.before, shift.after) == (2, 6)
    assert shift.noise == pytest.approx(1.959964 * np.sqrt((4 / 3 + 4 / 3) / 4), rel=1e-6)
    assert window_shift([1.0] * 19) is None


def test_a_shifts_noise_is_that_of_welchs_test_with_many_steps():
    values = np.concatenate([RNG.normal(0, 1, 2000), RNG.normal(1, 3, 8000)])
    shift = window_shift(values)
    interval = stats.ttest_ind(values[-2000:], values[:2000], equal_var=False).confidence_interval(0.95)
    assert shift.after - shift.before - shift.noise == pytest.approx(interval.low, abs=1e-3)
    assert shift.after - shift.before + shift.noise == pytest.approx(interval.high, abs=1e-3)


@pytest.mark.parametrize("n", [20, 33, 100])
def test_a_shift_turns_with_the_series(n):
    values = list(RNG.normal(size=n))
    there, back = window_shift(values), window_shift(values[::-1])
    assert (there.before, there.after, there.noise) == pytest.approx((back.after, back.before, back.noise))


def test_chosen_by_hand():
    falling = [-50.0] * 4 + [-53.0] * 12 + [-56.0] * 4
    assert chosen_falls(falling) == Alarm("chosen", -50.0, -56.0, -55.0)
    assert chosen_falls([-50.0] * 16 + [-54.9] * 4) is None
    assert chosen_falls(falling[::-1]) is None


def test_a_fall_that_may_be_chance_does_not_ring():
    """The second road: Welch's test of the same windows, on series whose fall is on both sides of sure."""
    rang = 0
    for scale in (0.5, 4.0, 20.0, 60.0):
        for _ in range(20):
            values = np.concatenate([RNG.normal(-50, scale, 80), RNG.normal(-58, scale, 20)])
            first, last = values[:20], values[-20:]
            sure = stats.ttest_ind(first, last, equal_var=False, alternative="greater").statistic > 1.959964
            expected = sure and last.mean() < 1.1 * first.mean()
            assert (chosen_falls(values) is not None) == expected
            rang += expected
    assert 20 < rang < 80


def test_chosen_never_rings_where_nothing_fell():
    for _ in range(50):
        start = RNG.normal(-60, 2)
        assert chosen_falls(start + np.sort(RNG.normal(0, 5, 40))) is None


def test_kl_by_hand():
    assert kl_over(Mean(12.0, 1.5)) == Alarm("kl", 0.0, 12.0, 10.0)
    assert kl_over(Mean(12.0, 2.0)) is None
    assert kl_over(Mean(3.0), budget=2.5).limit == 2.5


def test_the_kl_budget_is_what_its_comment_says():
    assert kl_bound(50_000) < 10 < kl_bound(100_000)


@pytest.mark.parametrize("half", [0.0, 0.3, 2.0])
def test_kl_rings_from_some_point_on_and_stays(half):
    rings = [kl_over(Mean(value, half)) is not None for value in np.linspace(0, 20, 201)]
    assert rings == sorted(rings)
    assert rings.count(True) == int(np.sum(np.linspace(0, 20, 201) - half > 10))


def test_length_by_hand():
    # Yuan et al., arXiv:2401.10020, Table 1: M1, M2, M3 write 1092, 1552, 2552 characters
    assert length_grows(1092, 1552) == Alarm("length", 1092, 1552, 1365)
    assert length_grows(1552, 2552) is not None
    assert length_grows(1000, 1250) is None
    assert length_grows(0, 5) is None


def test_length_and_entropy_know_no_unit():
    for start, now in RNG.uniform(1, 100, (50, 2)):
        for scale in (0.01, 7.0):
            assert (length_grows(start, now) is None) == (length_grows(scale * start, scale * now) is None)
            assert (entropy_collapses(start, now) is None) == (entropy_collapses(scale * start, scale * now) is None)


def test_length_and_entropy_agree_with_their_ratios():
    for start, now in RNG.uniform(1, 100, (200, 2)):
        assert (length_grows(start, now) is not None) == (np.log(now) - np.log(start) > np.log(1.25))
        assert (entropy_collapses(start, now) is not None) == (np.log(now) - np.log(start) <= np.log(0.5))


def test_entropy_by_hand():
    assert entropy_collapses(2.0, 0.9) == Alarm("entropy", 2.0, 0.9, 1.0)
    assert entropy_collapses(2.0, 1.1) is None
    assert entropy_collapses(0.0, 0.0) is None
    assert entropy_collapses(-1.0, -3.0) is None  # no entropy of tokens is below 0: nothing is claimed


def test_divergence_by_hand():
    up, down = (Mean(1.0, 0.3), Mean(2.0, 0.4)), (Mean(5.0, 0.3), Mean(4.0, 0.4))
    assert judge_diverges(up, down) == Alarm("divergence", 5.0, 4.0, 5.0, (1.0, 2.0))
    assert judge_diverges(down, up) is None  # the other way round is good news
    assert judge_diverges(up, up) is None
    assert judge_diverges((Mean(1.0, 0.3), Mean(1.5, 0.4)), down) is None  # exactly its noise: it may be chance
    assert judge_diverges(up, (Mean(5.0, 0.9), Mean(4.0, 0.9))) is None


def test_divergence_is_the_z_test_of_both_differences():
    for judge0, judge1, gold0, gold1 in RNG.normal(0, 2, (300, 4)):
        halves = RNG.uniform(0.1, 2, 4)
        z_judge = (judge1 - judge0) / (np.hypot(*halves[:2]) / 1.959964)
        z_gold = (gold1 - gold0) / (np.hypot(*halves[2:]) / 1.959964)
        rings = judge_diverges(
            (Mean(judge0, halves[0]), Mean(judge1, halves[1])), (Mean(gold0, halves[2]), Mean(gold1, halves[3]))
        )
        assert (rings is not None) == bool(z_judge > 1.959964 and z_gold < -1.959964)


def test_divergence_is_rarer_the_less_is_known():
    for values in RNG.normal(0, 2, (100, 4)):
        rings = [
            judge_diverges((Mean(values[0], h), Mean(values[1], h)), (Mean(values[2], h), Mean(values[3], h)))
            is not None
            for h in (3.0, 1.0, 0.3, 0.0)
        ]
        assert rings == sorted(rings)
