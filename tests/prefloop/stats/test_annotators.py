"""Figures of single people: by hand, against statsmodels and brute force, and by properties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from prefloop.stats.annotators import (
    CANT_JUDGE_CODE,
    CrewColumns,
    chance_of_run,
    difference_interval,
    drift,
    first_side,
    longer,
    longest_run,
    measured,
    pace,
    person_report,
    time_of,
)

FIRST, SECOND, TIE, SKIP = 0, 1, 2, -1


def columns(votes, *, gold=None, lengths=((10, 20),) * 4):
    """`votes`: (item, rater, outcome, swapped, seconds), in the order in which they were given."""
    item, rater, outcome, swapped, seconds = (np.array(column) for column in zip(*votes, strict=True))
    n_items = len(lengths)
    return CrewColumns(
        raters=("ann", "ben", "cat"),
        gold=np.array(gold or [-1] * n_items),
        length_first=np.array([a for a, _ in lengths]),
        length_second=np.array([b for _, b in lengths]),
        item=item,
        rater=rater,
        outcome=outcome,
        swapped=swapped,
        at=np.arange(len(votes), dtype=np.float64),
        seconds=seconds.astype(np.float64),
    )


@pytest.fixture
def crew():
    """Four items; ann and ben agree on three, cat is outvoted there; on the last only gold decides."""
    return columns(
        [
            (0, 0, FIRST, 0, 10.0), (0, 1, FIRST, 1, 20.0), (0, 2, SECOND, 0, 5.0),
            (1, 0, SECOND, 0, 12.0), (1, 1, SECOND, 0, 12.0), (1, 2, FIRST, 0, 3.0),
            (2, 0, TIE, 1, 30.0), (2, 1, TIE, 0, 30.0), (2, 2, SKIP, 0, 1.0),
            (3, 0, FIRST, 1, np.nan), (3, 2, SECOND, 1, 6.0),
        ],
        gold=[-1, -1, -1, SECOND],
    )  # fmt: skip


def crew_report(columns):
    found = measured(columns)
    return [person_report(found, person) for person in range(len(columns.raters))]


def test_an_answer_that_is_no_outcome_is_counted_and_held_against_nothing():
    unclear = [(0, 0, FIRST, 0, 9.0), (0, 1, CANT_JUDGE_CODE, 0, 9.0), (1, 1, SKIP, 0, 9.0), (2, 1, FIRST, 0, 9.0)]
    ann, ben, _ = crew_report(columns(unclear, gold=[FIRST, FIRST, FIRST, FIRST]))
    assert (ann["n"], ann["n_skipped"], ann["n_cant_judge"]) == (1, 0, 0)
    assert (ben["n"], ben["n_skipped"], ben["n_cant_judge"]) == (1, 1, 1)
    assert (ben["gold"]["n"], ben["each_other"]) == (1, None)


def test_a_person_is_held_against_gold_or_everybody_else(crew):
    ann, ben, cat = crew_report(crew)
    assert (ann["n"], ann["n_skipped"], cat["n"], cat["n_skipped"]) == (4, 0, 3, 1)
    # on items 0 and 1 the others of ann are split; of cat they agree
    assert (ann["majority"]["n"], ann["majority"]["k"]) == (2, 1)  # item 2 with ben, item 3 against cat
    assert (cat["majority"]["n"], cat["majority"]["k"]) == (3, 0)
    assert (ann["gold"]["n"], ann["gold"]["k"], cat["gold"]["k"]) == (1, 0, 1)
    assert (cat["reference"]["n"], cat["reference"]["k"]) == (3, 1)
    # ann's meetings: two on each of items 0 and 1, one on 2 and 3; ben agreed on three
    assert (ann["each_other"]["n"], ann["each_other"]["k"]) == (6, 3)
    assert ben["gold"] is None


def test_times_are_quartiles_and_against_the_others_on_the_item(crew):
    ann = crew_report(crew)[0]["seconds"]
    assert (ann["n"], ann["median"], ann["total"]) == (3, 12.0, 52.0)
    assert (ann["q1"], ann["q3"]) == (11.0, 21.0)
    assert time_of(np.array([np.nan])) is None
    ratio = measured(crew).ratio
    assert ratio[0] == pytest.approx(10.0 / np.sqrt(20.0 * 5.0))
    assert np.isnan(ratio[9:]).all()  # nobody else was timed there


def test_a_tenth_more_time_of_everybody_changes_no_pace(crew):
    slower = columns(
        [(i, r, o, s, t * 1.1) for i, r, o, s, t in zip(
            crew.item, crew.rater, crew.outcome, crew.swapped, crew.seconds, strict=True)]
    )  # fmt: skip
    assert np.allclose(measured(slower).ratio, measured(crew).ratio, equal_nan=True)


@pytest.mark.parametrize("counts", [(9, 10, 3, 10), (56, 70, 48, 80), (0, 10, 0, 20), (10, 10, 0, 10), (5, 56, 0, 29)])
def test_the_difference_of_two_shares_has_newcombes_interval(counts):
    k1, n1, k2, n2 = counts
    ends = difference_interval(k1, n1, k2, n2)
    low, high = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff")
    assert (ends.low, ends.high) == pytest.approx((low, high), abs=1e-9)


def test_newcombes_own_example():
    ends = difference_interval(56, 70, 48, 80)  # Newcombe 1998, table II, (a), method 10
    assert (round(ends.low, 4), round(ends.high, 4)) == (0.0524, 0.3339)


def test_drift_is_the_trend_of_cochran_and_armitage():
    rng = np.random.default_rng(3)
    right = rng.random(90) < np.linspace(0.95, 0.5, 90)
    found = drift(right)
    x = np.arange(90)
    p = right.mean()
    by_formula = ((right - p) * (x - x.mean())).sum() / np.sqrt(p * (1 - p) * ((x - x.mean()) ** 2).sum())
    assert found["z"] == pytest.approx(by_formula)
    assert found["change"] == pytest.approx(right[-30:].mean() - right[:30].mean())
    assert drift(right[::-1])["z"] == pytest.approx(-found["z"])
    assert drift([True] * 5) is None
    assert drift([True] * 30)["z"] == 0.0


def test_the_trend_of_votes_without_drift_is_a_normal_score():
    rng = np.random.default_rng(0)
    z = [drift(rng.random(60) < 0.8)["z"] for _ in range(400)]
    assert stats.kstest(z, "norm").pvalue > 0.01


def test_the_side_shown_first_is_counted_and_not_the_stored_one():
    outcome = np.array([FIRST, SECOND, FIRST, SECOND, TIE, SECOND, FIRST])
    swapped = np.array([0, 1, 1, 0, 0, -1, 0])
    found = first_side(outcome, swapped)
    assert (found["n"], found["k"]) == (5, 3)
    mirrored = first_side(1 - outcome[:4], 1 - swapped[:4])  # other names of the answers, the same screen
    assert mirrored == first_side(outcome[:4], swapped[:4])


def test_a_lean_to_the_longer_answer_is_beyond_what_the_reference_prefers():
    outcome = np.array([FIRST, FIRST, SECOND, SECOND, FIRST])
    surplus = np.array([5, 5, -5, 5, 0])
    reference = np.array([FIRST, SECOND, SECOND, SECOND, FIRST])
    found = longer(outcome, reference, surplus)
    assert (found["n"], found["k"], found["n_both"]) == (4, 3, 4)
    assert found["excess"] == pytest.approx(1 / 4)  # only the second is longer than what the reference chose
    assert longer(reference, reference, surplus)["excess"] == 0.0


def test_the_pace_has_the_interval_of_order_statistics():
    found = pace(np.arange(1.0, 11.0))
    # P(2 <= Binomial(10, 1/2) <= 8) = 0.9785: the second smallest and the second largest
    assert (found["median"], found["ci95"]) == (5.5, [2.0, 9.0])
    assert pace(np.array([1.0, 2.0]))["ci95"] is None


@pytest.mark.parametrize("share", [0.5, 0.3, 0.8])
def test_the_chance_of_a_run_by_counting_every_sequence(share):
    n = 9
    for length in range(1, n + 2):
        chance = sum(
            share ** sum(tosses) * (1 - share) ** (n - sum(tosses))
            for tosses in product([0, 1], repeat=n)
            if "1" * length in "".join(map(str, tosses))
        )
        assert chance_of_run(length, n, share) == pytest.approx(chance, abs=1e-12)


def test_the_longest_run():
    assert [longest_run(x) for x in ([], [1], [1, 1, 0, 0, 0, 1], [0, 1, 0])] == [0, 1, 3, 1]
