"""The over-optimisation laws: peaks by hand and by search, fits that recover what made the points, scaling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from prefloop.stats.overoptimisation import Form, fit_overoptimisation, gold_reward, peak

FORMS = st.sampled_from(["bon", "rl"])


def test_the_peaks_by_hand() -> None:
    bon, rl = peak(form="bon", alpha=1, beta=0.25), peak(form="rl", alpha=1, beta=0.25)
    assert bon is not None
    assert rl is not None
    assert (bon.distance, bon.reward, bon.kl) == (2, 1, 4)
    assert (rl.distance, rl.reward) == pytest.approx((20.0855369, 5.0213842))


@given(FORMS, st.floats(0.2, 3), st.floats(0.3, 2))
def test_the_peak_is_where_a_search_finds_it(form: Form, alpha: float, beta: float) -> None:
    top = peak(form=form, alpha=alpha, beta=beta)
    assert top is not None
    found = minimize_scalar(
        lambda d: -float(gold_reward(d, form=form, alpha=alpha, beta=beta)), bounds=(1e-9, 4 * top.distance),
        method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found.x == pytest.approx(top.distance, rel=1e-4)
    assert -found.fun == pytest.approx(top.reward, rel=1e-6)


@given(FORMS, st.floats(-3, 3), st.floats(-2, 2))
def test_a_fit_recovers_the_law_that_made_the_points(form: Form, alpha: float, beta: float) -> None:
    d = np.array([0.5, 1.0, 1.7, 2.5, 4.0])
    fit = fit_overoptimisation(d, gold_reward(d, form=form, alpha=alpha, beta=beta), form=form)
    assert (fit.alpha, fit.beta) == pytest.approx((alpha, beta), abs=1e-8)
    assert fit.residual == pytest.approx(0, abs=1e-8)
    assert fit.reward(d).tolist() == pytest.approx(gold_reward(d, form=form, alpha=alpha, beta=beta), abs=1e-7)


def test_a_fit_to_noise_agrees_with_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    d = rng.uniform(0.5, 5, 30)
    r = d * (1 - 0.2 * np.log(d)) + rng.normal(0, 0.1, 30)
    fit = fit_overoptimisation(d, r, form="rl")
    slope, intercept = np.polyfit(np.log(d), r / d, 1)
    assert (fit.alpha, fit.beta) == pytest.approx((intercept, -slope))
    assert fit.n == 30


@given(FORMS, st.floats(0.1, 10))
def test_gold_in_other_units_scales_both_numbers(form: Form, scale: float) -> None:
    d, r = np.array([1.0, 2.0, 3.0]), np.array([0.7, 1.1, 0.9])
    one, other = fit_overoptimisation(d, r, form=form), fit_overoptimisation(d, scale * r, form=form)
    assert (other.alpha, other.beta) == pytest.approx((scale * one.alpha, scale * one.beta))
    assert one.peak() is not None
    assert other.peak().distance == pytest.approx(one.peak().distance)  # type: ignore[union-attr]


def test_fresh_reward_models_add_beta_log_k() -> None:
    one = gold_reward(2.0, form="rl", alpha=1, beta=0.5)
    four = gold_reward(2.0, form="rl", alpha=1, beta=0.5, n_models=4)
    assert float(four - one) == pytest.approx(2 * 0.5 * math.log(4))
    with pytest.raises(ValueError, match="RL form"):
        gold_reward(2.0, form="bon", alpha=1, beta=0.5, n_models=4)


def test_a_law_that_never_turns_has_no_peak_and_starts_at_zero() -> None:
    assert peak(form="bon", alpha=1, beta=0) is None
    assert peak(form="bon", alpha=-1, beta=1) is None
    assert peak(form="rl", alpha=1, beta=-1) is None
    assert peak(form="rl", alpha=1, beta=1e-9) is None
    assert gold_reward(0.0, form="rl", alpha=1, beta=1) == 0


@pytest.mark.parametrize(
    ("distance", "gold"), [([0.0, 1.0], [0.0, 1.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0], [1.0]), ([1.0, 2.0], [1.0])]
)
def test_points_that_carry_no_fit_are_refused(distance: list[float], gold: list[float]) -> None:
    with pytest.raises(ValueError, match=r"distance"):
        fit_overoptimisation(distance, gold, form="rl")
