"""The laboratory's own tools: expectations over groups, arrangements of ties, and the solver."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from prefloop.recipes.parts import Filter, Pairing
from prefloop.tabular import draws
from prefloop.tabular.draws import Expectation, all_groups
from prefloop.tabular.groups import KeptLaw, arrangements, pair_law
from prefloop.tabular.solve import NotSolved, _least_move, gradient_of, solve

LAW = np.array([0.2, 0.5, 0.3])


def _best_squared(drawn: Any) -> Any:
    return np.array([float(max(drawn[0]) ** 2 + min(drawn[1]))])


def test_an_expectation_is_the_sum_over_all_ordered_draws() -> None:
    other = np.array([0.6, 0.1, 0.3])
    wanted = sum(
        math.prod(LAW[y] for y in a) * math.prod(other[y] for y in b) * (max(a) ** 2 + min(b))
        for a in itertools.product(range(3), repeat=3)
        for b in itertools.product(range(3), repeat=2)
    )
    expectation = Expectation(3, (3, 2), _best_squared, (1,))
    assert expectation.exact
    assert expectation.mean([LAW, other])[0] == pytest.approx(wanted, abs=1e-12)


def test_monte_carlo_comes_near_and_another_seed_gives_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Expectation(3, (3, 2), _best_squared, (1,)).mean([LAW, LAW])[0]
    monkeypatch.setattr(draws, "MOST_GROUPS", 1)
    found = [Expectation(3, (3, 2), _best_squared, (1,), seed=seed).mean([LAW, LAW])[0] for seed in range(4)]
    assert len(set(found)) == 4
    assert found == pytest.approx([exact] * 4, abs=0.2)  # its standard deviation is near 1.3 / sqrt(2500)
    groups, probability, all_of_them = all_groups(LAW, 3, seed=0)
    assert not all_of_them
    assert probability.sum() == pytest.approx(1)
    assert groups.shape == (draws.MONTE_CARLO_GROUPS, 3)


@settings(max_examples=10)
@given(st.integers(2, 5), st.integers(1, 5))
def test_the_groups_are_all_and_their_probabilities_sum_to_one(m: int, n: int) -> None:
    law = np.arange(1, m + 1) / (m * (m + 1) / 2)
    groups, probability, all_of_them = all_groups(law, n, seed=0)
    assert all_of_them
    assert len(groups) == math.comb(n + m - 1, n)
    assert probability.sum() == pytest.approx(1)


def test_equal_scores_share_what_the_filter_keeps() -> None:
    """Of outcomes 0 and 1 with one score, a group (0, 0, 1) keeps 0 in two of three cases."""
    found = list(arrangements((0, 0, 1), (1.0, 1.0), (max,)))
    assert sorted(found) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    law, acceptance = KeptLaw(Filter(kind="best"), (1.0, 1.0, 0.0), 2, seed=0).of(LAW)
    assert law == pytest.approx([2 / 7 * 0.91, 5 / 7 * 0.91, 0.09])  # the level of both wins with 1 - .3^2
    assert acceptance == pytest.approx(0.5)


def test_a_tournament_is_over_all_orders_and_drops_games_among_equals() -> None:
    made, dropped = pair_law(Pairing(kind="tournament"), (0.0, 1.0, 2.0), 2, 3, seed=0).of([LAW, LAW])
    assert dropped == pytest.approx(float(LAW @ LAW))
    assert made[2, 1] == pytest.approx(2 * LAW[1] * LAW[2])  # the better by score first
    assert made[1, 2] == 0
    assert made.sum() + dropped == pytest.approx(1)


def test_the_gradient_is_that_of_finite_differences() -> None:
    at = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    target = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    found = gradient_of(lambda x: -(target * x.log_softmax(0)).sum(), at)
    differences = approx_fprime(at.numpy(), lambda x: float(-(target * torch.tensor(x).log_softmax(0)).sum()), 1e-7)
    assert found.tolist() == pytest.approx(differences.tolist(), abs=1e-6)


@pytest.mark.slow
@settings(max_examples=12)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=6), st.floats(0.2, 3))
def test_a_policy_gradient_is_solved_from_far(reward: list[float], beta: float) -> None:
    """The plain gradient grows before it falls where the best outcome is rare; the natural one leads straight there."""
    r = torch.tensor(reward, dtype=torch.float64)

    def surrogate(logits: torch.Tensor) -> torch.Tensor:
        logp = logits.log_softmax(0)
        returns = (r - beta * logp).detach()
        return -(logp.detach().exp() * logp * returns).sum()

    rest = solve(surrogate, -2 * r, own_draws=True)
    torch.testing.assert_close(rest.logits.softmax(0), (r / beta).softmax(0), rtol=0, atol=1e-9)
    assert rest.gradient < 1e-10


def test_what_has_no_rest_is_said_to_have_none() -> None:
    with pytest.raises(NotSolved, match="--steps"):
        solve(lambda x: -x[0] + x[1], torch.zeros(3, dtype=torch.float64))


def test_a_function_that_knows_its_constant_is_solved_for_it_too() -> None:
    """A reward that is held near zero is no policy: adding a constant to all its entries changes it."""
    rest = solve(lambda x: ((x - 3) ** 2).sum(), torch.zeros(3, dtype=torch.float64))
    assert rest.logits.tolist() == pytest.approx([3, 3, 3], abs=1e-9)


@pytest.mark.parametrize("far", [-40.0, -600.0, -745.0])
def test_a_start_that_rules_an_outcome_out_leaves_it_there(far: float) -> None:
    wanted = torch.tensor([0.25, 0.75, 0.0, 0.0], dtype=torch.float64)
    start = torch.tensor([0.0, 1.0, far, far / 2], dtype=torch.float64)
    rest = solve(lambda x: -(wanted * x.log_softmax(0)).sum(), start)
    assert rest.logits.softmax(0).tolist() == pytest.approx(wanted.tolist(), abs=1e-9)


def test_directions_that_a_system_does_not_know_are_not_moved_along() -> None:
    singular = torch.tensor([[0.25, -0.25, 0.0], [-0.25, 0.25, 0.0], [0.0, 0.0, 3e-260]], dtype=torch.float64)
    move = _least_move(singular, torch.tensor([0.1, -0.1, 1e-268], dtype=torch.float64))
    assert move.tolist() == pytest.approx([0.2, -0.2, 0.0], abs=1e-12)
    broken = _least_move(singular * math.inf, torch.zeros(3, dtype=torch.float64))
    assert bool(broken.isnan().all())
