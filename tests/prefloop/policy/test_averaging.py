"""Averages of weights by hand: the mean, SLERP of right angles and of equal directions, and what can't be averaged."""

from __future__ import annotations

import math

import pytest
import torch

from prefloop.policy.averaging import NotAlike, mean_weights, slerp_weights


def _w(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float64), "n": torch.tensor([3])}


def test_the_mean_and_the_arc_between_two_task_vectors() -> None:
    base, one, other = _w(1, 1), _w(3, 1), _w(1, 3)  # what they learnt: (2, 0) and (0, 2)
    assert mean_weights([one, other])["w"].tolist() == [2, 2]
    half = 2 * math.sqrt(0.5)  # as long as each, at 45 degrees; the mean is shorter
    assert slerp_weights(base, [one, other])["w"].tolist() == pytest.approx([1 + half, 1 + half])
    assert slerp_weights(base, [one, other], keep=0.5)["w"].tolist() == pytest.approx([1 + half / 2, 1 + half / 2])
    assert slerp_weights(base, [one, one])["w"].tolist() == pytest.approx([3, 1])  # one direction
    assert slerp_weights(base, [one, _w(1, 1)])["w"].tolist() == pytest.approx([2, 1])  # one that learnt nothing
    assert slerp_weights(base, [one, other])["n"].tolist() == [3]


def test_three_that_are_at_right_angles_all_count_alike_in_length() -> None:
    models = [{"w": torch.eye(3, dtype=torch.float64)[at]} for at in range(3)]
    found = slerp_weights({"w": torch.zeros(3, dtype=torch.float64)}, models)["w"]
    assert float(found.norm()) == pytest.approx(1.0)
    assert float(found[0]) == pytest.approx(float(found[1]))


def test_models_of_other_shapes_are_refused_and_types_are_kept() -> None:
    for models in ([_w(1, 2)], [_w(1, 2), _w(1, 2, 3)], [_w(1, 2), {"v": torch.ones(2)}]):
        with pytest.raises(NotAlike):
            mean_weights(models)
    low = [{"w": torch.tensor([1.0, 3.0], dtype=torch.bfloat16)}, {"w": torch.tensor([3.0, 3.0], dtype=torch.bfloat16)}]
    assert mean_weights(low)["w"].dtype == torch.bfloat16
