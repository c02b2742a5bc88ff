from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.optimize import minimize

from prefloop.judging.doubt import LabelTraits, chance_wrong

RNG = random.Random(4)


def _labels(n: int) -> list[LabelTraits]:
    return [
        LabelTraits(RNG.random(), (RNG.randrange(20, 200), RNG.randrange(20, 200)), RNG.choice([0.0, 0.5, 1.0]))
        for _ in range(n)
    ]


def _prefers_longer(one: LabelTraits) -> bool:
    return (one.p_first > 0.5) == (one.n_chars[0] > one.n_chars[1])


def test_without_decisions_all_labels_are_equally_doubtful_and_without_labels_there_is_nothing() -> None:
    assert chance_wrong([], _labels(5)) == [0.5] * 5
    assert chance_wrong([(_labels(1)[0], True)], []) == []


def test_the_weights_are_the_mode_of_the_posterior_by_another_optimiser() -> None:
    decided, asked = [(one, RNG.random() < 0.4) for one in _labels(12)], _labels(6)
    wrong = np.array([was for _, was in decided], dtype=float)
    base = np.log((wrong.sum() + 1) / (len(wrong) - wrong.sum() + 1))
    table = np.array([one.properties() for one in [*(one for one, _ in decided), *asked]])
    table = (table - table.mean(0)) / table.std(0)

    def loss(weights: np.ndarray) -> float:
        z = base + table[:12] @ weights
        return float((np.logaddexp(0, z) - wrong * z).sum() + 0.5 * (weights**2).sum())

    weights = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    expected = 1 / (1 + np.exp(-(base + table[12:] @ weights)))
    assert chance_wrong(decided, asked) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_sure_judge_that_likes_length_is_found_out_by_a_handful_of_decisions() -> None:
    labels = _labels(400)
    decided = [(one, _prefers_longer(one)) for one in labels[:24]]
    rest = labels[24:]
    chances = chance_wrong(decided, rest)
    ranked = sorted(range(len(rest)), key=lambda at: -chances[at])[:50]
    found = sum(_prefers_longer(rest[at]) for at in ranked) / 50
    assert found > 0.95
    assert sum(map(_prefers_longer, rest)) / len(rest) < 0.6  # what chance would find


def test_which_answer_stands_first_changes_nothing() -> None:
    decided = [(one, RNG.random() < 0.4) for one in _labels(12)]
    one = LabelTraits(0.9, (120, 60), 0.5)
    turned = LabelTraits(0.1, (60, 120), 0.5)
    a, b = chance_wrong(decided, [one, turned])
    assert a == pytest.approx(b)
