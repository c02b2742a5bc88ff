"""Recipes that have no optimum say so and ask for steps; what their steps do."""

from __future__ import annotations

from typing import Any

import pytest

from prefloop.config import ConfigError

DATA = [0.4, 0.3, 0.15, 0.1, 0.05]


@pytest.mark.parametrize(
    ("recipe", "options", "why"),
    [
        ("dpo", {"labels": "hard"}, "margin grows without end"),
        ("iterative-dpo", {"labels": "hard"}, "margin grows without end"),
        ("reward-model", {"labels": "hard"}, "margin grows without end"),
        ("slic-hf", {"set": {"draws.n": 4}}, "hinges"),
        ("rrhf", {}, "hinges"),
        ("click", {}, "hinges"),
        ("oaif-slic", {}, "hinges"),
        ("rso", {"set": {"objective.form": "hinge-norm", "draws.n": 8}}, "hinges"),
        ("iterative-pcl", {"set": {"draws.n": 4}}, "gate"),
        ("online-bo2", {}, "nothing holds the policy"),
        ("j-bond", {}, "--rounds"),
        ("iterative-bond", {}, "--rounds"),
        ("tandem-ipo", {}, "online run"),
        ("tandem-bo2", {}, "online run"),
    ],
)
def test_a_recipe_without_an_optimum_says_why_and_asks_for_steps(
    lab: Any, recipe: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        lab(recipe, **options)
    assert "--steps" in str(caught.value)
    settings = {"draws.n": 4} if recipe in ("slic-hf", "iterative-pcl") else {}
    after = lab(recipe, **{"set": settings, **options}, steps=3, lr=0.05)
    assert after.policy.sum().item() == pytest.approx(1)


def test_rlhf_of_certain_labels_says_that_its_reward_model_has_no_optimum(lab: Any) -> None:
    with pytest.raises(ConfigError, match=r"the reward model has no optimum here.*give --labels bt"):
        lab("rlhf", labels="hard")


def test_smoothed_certain_labels_have_an_optimum(lab: Any) -> None:
    """cDPO: with a chance of being wrong, no label is certain any more."""
    found = lab("dpo", {"objective.beta": 1, "objective.label_smoothing": 0.1}, labels="hard")
    assert found.policy[3] > 0.4


def test_hinges_move_the_policy_towards_what_is_better(lab: Any, t5: Any) -> None:
    for recipe, settings in [
        ("slic-hf", {"draws.n": 4}),
        ("rrhf", {}),
        ("click", {"objective.gamma": 1}),
        ("oaif-slic", {"objective.gamma": 0.5}),
        ("iterative-pcl", {"draws.n": 4}),
        ("online-bo2", {}),
        ("tandem-bo2", {}),
        ("tandem-ipo", {"objective.tau": 1}),
    ]:
        found = lab(recipe, settings, steps=5, lr=0.1)
        assert t5.win_rate(found.policy) > 0.5, recipe


@pytest.mark.slow
def test_a_logged_replay_is_the_online_run_and_a_shuffled_one_is_not(lab: Any, close: Any) -> None:
    online = lab("online-ipo", {"objective.tau": 0.5}, steps=40, lr=0.2)
    logged = lab("tandem-ipo", {"objective.tau": 0.5, "memory.order": "logged"}, steps=40, lr=0.2)
    close(logged.policy, online.policy, 1e-12)
    window = lab("tandem-ipo", {"objective.tau": 0.5, "memory.order": "window:10"}, steps=40, lr=0.2)
    uniform = lab("tandem-ipo", {"objective.tau": 0.5, "memory.order": "uniform"}, steps=40, lr=0.2)
    near = [float((one.policy - online.policy).abs().max()) for one in (window, uniform)]
    assert 0 < near[0] < near[1]
