"""KTO, SimPO, ORPO and the group baselines in the laboratory, against their fixed points."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.optimize import brentq

DATA = [0.4, 0.3, 0.15, 0.1, 0.05]


UNIFORM = [0.2] * 5


SKEWED = [0.05, 0.4, 0.1, 0.15, 0.3]


@pytest.mark.parametrize(("mu", "drifts"), [(None, False), (SKEWED, True)])
def test_kto_rests_where_its_values_slopes_balance(lab: Any, close: Any, t5: Any, mu: Any, drifts: bool) -> None:
    """At beta 1, sigma(r - z) is pi / (pi + t ref) with t = exp(z): it rests where pi + t ref is as sqrt(a ref).

    a is an outcome's mass as the better one less that as the worse one, each with its weight; all are positive here.
    """
    found = lab("kto", {"objective.beta": 1.0, "objective.undesirable_weight": 0.1}, mu=mu).policy
    compared = t5.reference if mu is None else torch.tensor(mu, dtype=torch.float64)
    wins = t5.prefers("bt") * compared[:, None] * compared[None]
    root = ((wins.sum(1) - 0.1 * wins.sum(0)) * t5.reference).sqrt()
    t = math.exp(max(0.0, float(compared @ (found / t5.reference).log())))
    assert (t > 1 + 1e-3) == drifts
    close(found, (1 + t) * root / root.sum() - t * t5.reference, 1e-8)


def test_kto_gives_up_what_is_undesirable_more_often_than_not(lab: Any, close: Any, t5: Any) -> None:
    found = lab("kto", {"objective.beta": 1.0}).policy
    wins = t5.prefers("bt") * t5.reference[:, None] * t5.reference[None]
    wanted = wins.sum(1) > wins.sum(0)
    assert wanted.tolist() == [False, True, False, True, False]
    root = ((wins.sum(1) - wins.sum(0)) * t5.reference)[wanted].sqrt()
    kept = t5.reference[wanted]
    law = torch.zeros(5, dtype=torch.float64)
    law[wanted] = (1 + kept.sum()) * root / root.sum() - kept
    close(found, law, 1e-8)


def test_r_dpo_rests_where_dpo_does_if_all_outcomes_are_equally_long(lab: Any, close: Any) -> None:
    found, dpo = lab("r-dpo", {"objective.beta": 0.5, "objective.alpha": 0.3}), lab("dpo", {"objective.beta": 0.5})
    close(found.policy, dpo.policy)


@pytest.mark.parametrize(("name", "rate"), [("tr-dpo", 0.6), ("tr-dpo", 0.0), ("tr-dpo-hard", 1.0)])
def test_tr_dpo_goes_on_from_where_its_reference_went(lab: Any, close: Any, t5: Any, name: str, rate: float) -> None:
    """With the reference held, DPO's optimum adds r / beta to it; it then goes `rate` of the way there."""
    settings = {"objective.beta": 2.0} | ({"anchor.rate": rate} if name == "tr-dpo" else {})
    rounds = {"rounds": 3} if rate else {}  # a reference that stays makes no rounds
    found = lab(name, settings, **rounds).policy
    close(found, (t5.reference.log() + (1 + 2 * rate) * t5.reward / 2.0).softmax(0), 1e-8)


@pytest.mark.parametrize("mu", [None, SKEWED])
def test_wpo_rests_where_dpo_does_whatever_its_weights(lab: Any, close: Any, mu: Any) -> None:
    found, dpo = (lab(name, {"objective.beta": 0.5}, mu=mu) for name in ("wpo", "dpo"))
    close(found.policy, dpo.policy)


def test_simpo_without_a_margin_rests_where_rewards_are_the_log_odds(lab: Any, close: Any, t5: Any) -> None:
    found = lab("simpo", {"objective.beta": 2.0, "objective.gamma": 0.0})
    close(found.policy, (t5.reward / 2.0).softmax(0))  # as if the reference were indifferent


def test_simpos_margin_widens_the_odds_of_two_outcomes(lab: Any) -> None:
    beta, gamma, p = 2.0, 0.8, 1 / (1 + math.exp(-1))
    found = lab(
        "simpo", {"objective.beta": beta, "objective.gamma": gamma}, reference=[0.5, 0.5], reward=[1.0, 0.0]
    ).policy
    # p sigma(gamma - h) = (1 - p) sigma(gamma + h), quadratic in exp(h)
    g = math.exp(gamma)
    root = ((2 * p - 1) * g + math.sqrt((2 * p - 1) ** 2 * g**2 + 4 * p * (1 - p))) / (2 * (1 - p))
    assert math.log(float(found[0] / found[1])) == pytest.approx(math.log(root) / beta, abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_orpo_rests_where_likelihood_and_odds_ratio_balance(lab: Any, weight: float) -> None:
    p = 1 / (1 + math.exp(-1))
    found = lab("orpo", {"objective.lambda": weight}, reference=[0.5, 0.5], reward=[1.0, 0.0]).policy
    z = math.log(float(found[0] / found[1]))
    # two outcomes: the odds are exp(z) and exp(-z), their ratio exp(2z)
    winners = 0.25 + 0.5 * p  # two draws are alike half of the time
    assert float(found[0]) - winners + weight * (1 / (1 + math.exp(-2 * z)) - p) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
def test_dr_grpo_rests_where_the_scores_balance_the_kl_to_the_reference(lab: Any, close: Any, t5: Any, n: int) -> None:
    beta = 2.0
    chosen = {"objective.beta": beta, "objective.normalisation": "dr-grpo", "draws.n": n}
    found = lab("grpo", chosen).policy
    # the group's mean holds the answer itself: 1 - 1/n of the gradient; k3 has the gradient of KL(reference, policy)
    lead = (1 - 1 / n) * (t5.reward - found @ t5.reward)
    close(found * (beta - lead), beta * t5.reference, 1e-8)


def test_grpo_divides_by_the_deviation_of_each_group(lab: Any) -> None:
    n, beta, start = 4, 3.0, 0.3
    found = lab("grpo", {"objective.beta": beta, "draws.n": n}, reference=[start, 1 - start], reward=[1.0, 0.0]).policy
    p = float(found[0])
    pull = 0.0
    for good in range(1, n):  # every group with both outcomes, by hand
        chance = math.comb(n, good) * p**good * (1 - p) ** (n - good)
        mean = good / n
        deviation = math.sqrt(n / (n - 1) * mean * (1 - mean)) + 1e-4
        pull += chance * (mean * (1 - mean) * (1 - p) + (1 - mean) * mean * p) / deviation
    assert pull == pytest.approx(beta * (p - start), abs=1e-8)
    assert p > start


def test_xpo_without_its_bonus_rests_where_dpo_does_and_with_it_goes_further(lab: Any, close: Any) -> None:
    """Two outcomes make one pair: beta (sigma(h) - p) + alpha (ref - pi) = 0, and the better one is the likelier."""
    beta, alpha, start, p = 0.5, 0.05, 0.3, 1 / (1 + math.exp(-1))
    chosen: dict[str, Any] = {"objective.beta": beta, "objective.alpha": 0.0}
    close(lab("xpo", chosen).policy, lab("dpo", {"objective.beta": beta}).policy, 1e-8)
    two: dict[str, Any] = {"reference": [start, 1 - start], "reward": [1.0, 0.0]}

    def slope(pi: float) -> float:
        h = beta * (math.log(pi / start) - math.log((1 - pi) / (1 - start)))
        return beta * (1 / (1 + math.exp(-h)) - p) + alpha * (start - pi)

    plain, found = (float(lab("xpo", chosen | {"objective.alpha": a}, **two).policy[0]) for a in (0.0, alpha))
    assert found == pytest.approx(brentq(slope, 1e-6, 1 - 1e-6), abs=1e-8)
    assert found > plain + 0.01 > start


def test_on_policy_distillation_rests_at_its_teacher(lab: Any, close: Any) -> None:
    close(lab("on-policy-distillation", teacher=DATA).policy, DATA, 1e-8)
