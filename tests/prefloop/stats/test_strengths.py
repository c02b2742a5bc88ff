"""Agreement by strength: by hand, by a plain loop over pairs of votes, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from prefloop.stats.strengths import UNSAID, Votes, strength_report

FIRST, SECOND, TIE = 0, 1, 2
BETTER, MUCH = 0, 1


def votes(rows, n_items):
    item, outcome, strength = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Votes(n_items, item, outcome, strength)


def test_by_hand():
    said = votes(
        [
            (0, FIRST, MUCH),
            (0, FIRST, BETTER),
            (0, TIE, UNSAID),  # each of the two agrees with one of two others
            (1, SECOND, MUCH),
            (1, SECOND, MUCH),  # both agree with the one other
            (2, FIRST, BETTER),
            (2, SECOND, UNSAID),
        ],
        3,
    )
    judge = np.array([0, 1, 2, 2], dtype=np.int64), np.array([FIRST, FIRST, FIRST, -1], dtype=np.int64)
    report = strength_report(said, {"main": judge})
    assert (report["n_said"], report["n_unsaid"]) == (5, 1)
    better, much = report["strengths"]
    assert (better["name"], better["n"], better["share"]) == ("better", 2, 0.4)
    assert (better["people"]["rate"], better["people"]["n"], better["people"]["n_comparisons"]) == (1 / 3, 3, 2)
    assert (much["people"]["rate"], much["people"]["n"]) == (3 / 4, 4)
    assert [(one["name"], one["rate"], one["n"]) for one in much["judges"]] == [("main", 1 / 3, 3)]
    assert [(one["rate"], one["n"]) for one in better["judges"]] == [(1.0, 2)]
    low, high = much["people"]["ci95"]
    assert 0 <= low < 3 / 4 < high <= 1


def random_votes(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for item in range(40):
        for _ in range(int(rng.integers(0, 5))):
            outcome = int(rng.integers(0, 4))
            rows.append((item, outcome, int(rng.integers(-1, 2)) if outcome < 2 else UNSAID))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_loop_over_pairs_of_votes_says_the_same(seed):
    rows = random_votes(seed)
    report = strength_report(votes(rows, 40), {})
    for code, row in enumerate(report["strengths"]):
        pairs = [
            mine[1] == other[1]
            for k, mine in enumerate(rows)
            for j, other in enumerate(rows)
            if k != j and mine[0] == other[0] and mine[2] == code
        ]
        assert (row["people"]["n"], row["people"]["rate"]) == (len(pairs), pytest.approx(sum(pairs) / len(pairs)))


def test_neither_the_order_of_votes_nor_which_answer_is_first_matters():
    rows = random_votes(7)
    turned = [(item, 1 - outcome if outcome < 2 else outcome, strength) for item, outcome, strength in rows[::-1]]
    assert strength_report(votes(rows, 40), {}) == strength_report(votes(turned, 40), {})


def test_without_a_strength_nothing_is_said():
    report = strength_report(votes([(0, FIRST, UNSAID), (0, FIRST, UNSAID)], 1), {})
    assert (report["n_said"], report["n_unsaid"]) == (0, 2)
    assert [(row["n"], row["share"], row["people"]) for row in report["strengths"]] == [(0, None, None)] * 2
