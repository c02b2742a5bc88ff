"""The alternative annotator test: by hand, against plain loops with SciPy's t-test, and how it must move with ε."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_1samp

from prefloop.stats.alternative import alternative_annotator_test


def _votes(seed, *, n=60, people=4, noise=0.25, judge_noise=0.25, missing=0.2):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    says = np.where(rng.random((people, n)) < noise, rng.integers(0, 3, (people, n)), truth)
    judge = np.where(rng.random(n) < judge_noise, rng.integers(0, 3, n), truth)
    rater, item = np.nonzero(rng.random((people, n)) >= missing)
    return item, rater, says[rater, item], judge


def test_three_people_and_two_items_by_hand():
    # item 0: a, b say 0, c says 1, the judge 0; item 1: all say 1, the judge 1
    found = alternative_annotator_test(
        [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, 0, 1, 1, 1, 1], [0, 1], epsilon=0.2, min_items=2
    )
    # c out: the judge agrees with two, c with none; on item 1 both agree with two
    wins = {a.rater: (a.judge_wins, a.person_wins) for a in found.people}
    assert wins[2] == (1.0, 0.5)
    # a out: of b and c the judge and a both agree with b alone
    assert wins[0] == wins[1] == (1.0, 1.0)
    assert found.advantage == 1.0
    assert [a.p_value for a in found.people[:2]] == [0.0, 0.0]  # no edge on any item, less than ε
    assert found.winning_rate >= 2 / 3
    assert found.passed


def by_loops(item, rater, outcome, judge, epsilon, q=0.05):
    says = {}
    for i, r, o in zip(item, rater, outcome, strict=True):
        says.setdefault(i, {})[r] = o
    p_values, advantage = [], []
    for r in sorted(set(rater)):
        edge, wins = [], []
        for i, votes in says.items():
            if r not in votes or len(votes) < 2:
                continue
            others = [o for s, o in votes.items() if s != r]
            person, machine = (np.mean([o == said for o in others]) for said in (votes[r], judge[i]))
            wins.append(machine >= person)
            edge.append(int(person >= machine) - int(machine >= person))
        if len(edge) >= 30:
            same = len(set(edge)) == 1
            p_values.append(
                float(edge[0] >= epsilon) if same else ttest_1samp(edge, epsilon, alternative="less").pvalue
            )
            advantage.append(np.mean(wins))
    rejected = false_discovery_control(p_values, method="by") <= q
    return p_values, float(np.mean(rejected)), float(np.mean(advantage))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.2]))
def test_it_is_the_loops_of_the_paper(seed, epsilon):
    votes = _votes(seed, n=80, people=4)
    found = alternative_annotator_test(*votes, epsilon=epsilon)
    p_values, rate, advantage = by_loops(*votes, epsilon)
    assert [a.p_value for a in found.people] == pytest.approx(p_values, abs=1e-9)
    assert (found.winning_rate, found.advantage) == pytest.approx((rate, advantage))
    assert found.passed == (rate >= 0.5)


def test_a_good_judge_passes_a_poor_one_does_not_and_epsilon_only_helps():
    good, poor = _votes(0, n=200, judge_noise=0.1), _votes(0, n=200, judge_noise=0.9)
    assert alternative_annotator_test(*good, epsilon=0.1).passed
    assert not alternative_annotator_test(*poor, epsilon=0.2).passed
    rates = [alternative_annotator_test(*_votes(1, n=200), epsilon=e).winning_rate for e in (0.0, 0.1, 0.2, 0.5)]
    assert rates == sorted(rates)


def test_too_few_people_or_items_is_said_and_not_guessed():
    assert "no comparison" in alternative_annotator_test([], [], [], []).reason
    two = alternative_annotator_test(*_votes(2, people=2))
    assert (two.passed, two.winning_rate) == (None, None)
    assert "2 of the 3 people" in two.reason
    short = alternative_annotator_test(*_votes(3, n=20))
    assert short.passed is None
    mute = alternative_annotator_test([0, 0], [0, 1], [1, 1], [-1])
    assert mute.passed is None
