"""Each closed form on random beds: 3 to 6 outcomes, |r| up to 3, every probability at least .02."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from prefloop.recipes.filters import acceptance_probabilities
from prefloop.stats.best_of_n import best_of_n_law

FEW = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a bed that fails is small enough as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def laws(draw: st.DrawFn, m: int) -> list[float]:
    """A law of m outcomes with no probability below .02."""
    weights = draw(st.lists(st.floats(0.01, 1), min_size=m, max_size=m))
    free = 1 - 0.02 * m
    return [0.02 + free * weight / sum(weights) for weight in weights]


@st.composite
def beds(draw: st.DrawFn) -> dict[str, Any]:
    """Reference, rewards (ties among them), and two more laws over the same outcomes."""
    m = draw(st.integers(3, 6))
    reward = draw(st.lists(st.floats(-3, 3).map(lambda x: round(x, 2)), min_size=m, max_size=m))
    return {"reference": draw(laws(m)), "reward": reward, "data": draw(laws(m)), "mu": draw(laws(m))}


def _t(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _tilted(bed: dict[str, Any], exponent: Tensor) -> Tensor:
    return (_t(bed["reference"]).log() + exponent).softmax(0)


def _plain(bed: dict[str, Any]) -> dict[str, Any]:
    return {"reference": bed["reference"], "reward": bed["reward"]}


@pytest.mark.slow
@FEW
@given(beds(), st.integers(2, 4))
def test_best_of_n_bond_and_rejection_sampling_agree_ties_and_all(lab: Any, close: Any, bed: Any, n: int) -> None:
    wanted = torch.from_numpy(best_of_n_law(bed["reference"], bed["reward"], n))
    close(lab("best-of-n", {"draws.n": n}, **_plain(bed)).policy, wanted, 1e-12)
    close(lab("rs-ft", {"draws.n": n}, **_plain(bed)).policy, wanted)
    for recipe in ("bond", "bond-forward"):
        close(lab(recipe, {"objective.n": n}, **_plain(bed)).policy, wanted)


@pytest.mark.slow
@FEW
@given(beds(), st.floats(0.4, 2))
def test_rlhf_and_every_logistic_loss_have_the_rlhf_optimum(lab: Any, close: Any, bed: Any, beta: float) -> None:
    wanted = _tilted(bed, _t(bed["reward"]) / beta)
    close(lab("rlhf", {"objective.beta": beta}, **_plain(bed)).policy, wanted)
    close(lab("dpo", {"objective.beta": beta}, **_plain(bed), mu=bed["mu"]).policy, wanted)
    close(lab("oaif-dpo", {"objective.beta": beta}, **_plain(bed)).policy, wanted)


@pytest.mark.slow
@FEW
@given(beds(), st.floats(0.4, 2))
def test_rso_accepts_and_learns_as_theory_says(lab: Any, close: Any, bed: Any, beta: float) -> None:
    assume(len(set(bed["reward"])) > 1)  # pairs of equal scores are dropped
    # gamma 1: the loss does not know the filter's beta
    found = lab("rso", {"filter.beta": beta, "objective.gamma": 1, "draws.n": 4, "filter.keep": 2}, **_plain(bed))
    rate = _t(bed["reference"]) @ _t(list(acceptance_probabilities(bed["reward"], beta=beta)))
    assert found.acceptance == pytest.approx(float(rate), abs=1e-12)
    close(found.data_law, _tilted(bed, _t(bed["reward"]) / beta), 1e-9)
    close(found.policy, _tilted(bed, _t(bed["reward"])))


@pytest.mark.slow
@FEW
@given(beds(), st.floats(0.3, 2))
def test_ipo_has_its_optimum_and_online_ipo_its_nash_point(lab: Any, close: Any, bed: Any, tau: float) -> None:
    r = _t(bed["reward"])
    prefers = torch.sigmoid(r[:, None] - r[None])
    offline = lab("ipo", {"objective.tau": tau}, **_plain(bed), mu=bed["mu"]).policy
    close(offline, _tilted(bed, prefers @ _t(bed["mu"]) / tau))
    nash = lab("online-ipo", {"objective.tau": tau}, **_plain(bed)).policy
    close(nash, _tilted(bed, prefers @ nash / tau))


@pytest.mark.slow
@FEW
@given(beds(), st.floats(0.6, 5))
def test_spin_has_its_closed_form(lab: Any, close: Any, bed: Any, lambda_: float) -> None:
    found = lab("spin", {"objective.lambda": lambda_}, **_plain(bed), data=bed["data"]).policy
    close(found, _tilted(bed, (_t(bed["data"]) / _t(bed["reference"])).log() / lambda_))


@pytest.mark.slow
@FEW
@given(beds())
def test_bo2_imitates_the_winner_of_two(lab: Any, close: Any, bed: Any) -> None:
    r, mu = _t(bed["reward"]), _t(bed["mu"])
    found = lab("offline-bo2", **_plain(bed), mu=bed["mu"]).policy
    close(found, 2 * mu * (torch.sigmoid(r[:, None] - r[None]) @ mu))
    hard = lab("offline-bo2", **_plain(bed), mu=bed["mu"], labels="hard").policy
    close(hard, torch.from_numpy(best_of_n_law(bed["mu"], bed["reward"], 2)))


@FEW
@given(beds(), st.floats(0, 2))
def test_j_bonds_held_anchor_has_its_closed_form_at_the_backward_end(
    lab: Any, close: Any, bed: Any, gamma: float
) -> None:
    r, reference = _t(bed["reward"]), _t(bed["reference"])
    above = (reference * (r[None] > r[:, None])).sum(1)
    found = lab("j-bond", {"objective.jeffreys": 1, "objective.gamma": gamma}, **_plain(bed), rounds=1).policy
    # -log 16 where both of the anchor's two are better; the extra KL weakens it by 1 + gamma
    close(found, _tilted(bed, -torch.log(torch.tensor(16.0)).double() * above**2 / (1 + gamma)))


@pytest.mark.slow
@FEW
@given(beds(), st.floats(0, 1))
def test_gkd_rests_at_its_teacher(lab: Any, close: Any, bed: Any, beta: float) -> None:
    if 0 < min(beta, 1 - beta) < 0.05:
        beta = 0.5  # near its ends the divergence is as flat as it is near to zero there
    close(lab("gkd", {"objective.beta": beta}, **_plain(bed), teacher=bed["data"]).policy, bed["data"])


@pytest.mark.slow
@FEW
@given(beds(), st.integers(1, 3))
def test_rounds_of_iterative_dpo_add_up(lab: Any, close: Any, bed: Any, rounds: int) -> None:
    assume(len(set(bed["reward"])) > 1)
    settings = {"objective.beta": 1.5, "objective.reference": "previous", "draws.n": 3}
    close(
        lab("iterative-dpo", settings, **_plain(bed), rounds=rounds).policy,
        _tilted(bed, rounds * _t(bed["reward"]) / 1.5),
    )
