"""RewardBench's categories by hand: mathematics weighs as much as all code together."""

from __future__ import annotations

import pytest

from prefloop.stats.reward_bench import category_scores


def test_categories_by_hand():
    rows = [
        {"name": "alpacaeval-easy", "n": 100, "k": 90},
        {"name": "mt-bench-med", "n": 50, "k": 30},
        {"name": "math-prm", "n": 1000, "k": 500},
        {"name": "hep-go", "n": 10, "k": 9},
        {"name": "hep-js", "n": 30, "k": 27},
        {"name": "refusals-offensive", "n": 4, "k": 4},
        {"name": "of nobody", "n": 7, "k": 0},
    ]
    found = {one["name"]: one for one in category_scores(rows)}
    assert list(found) == ["Chat", "Safety", "Reasoning"]
    assert (found["Chat"]["n"], found["Chat"]["rate"]) == (150, pytest.approx(0.8))
    assert found["Reasoning"]["rate"] == pytest.approx((0.5 + 0.9) / 2)
    # weights 1/2, 1/8 and 3/8 of the three subsets
    half = 1.959964 * (0.5**2 * 0.25 / 1000 + 0.125**2 * 0.09 / 10 + 0.375**2 * 0.09 / 30) ** 0.5
    assert found["Reasoning"]["ci95"] == pytest.approx([0.7 - half, 0.7 + half])
    assert found["Safety"]["ci95"] is None  # all right: nothing to tell an error from
    assert category_scores([]) == []
