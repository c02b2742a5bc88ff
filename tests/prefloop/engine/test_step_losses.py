from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from prefloop.engine.examples import encode_demonstrations, encode_pairs
from prefloop.engine.pieces import Row
from prefloop.policy.loading import Policy, reward_model_from_policy
from prefloop.policy.scoring import reward_scores, score_groups
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.recipe import Objective
from prefloop.recipes.snapshots import Demonstration
from prefloop.types import TrainingPair
from tests.prefloop.engine.one_pass import learnt

PAIRS = [
    TrainingPair("a", "Say one.", " one", " two", p_first=1.0),
    TrainingPair("b", "Say two.", " one one", " two", p_first=0.2, weight=3.0),
    TrainingPair("c", "Say a very long thing.", "", " it is a very long thing, this one", p_first=0.5),
]


@pytest.fixture
def policy() -> Policy:
    return tiny_policy(seed=3, std=0.2)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def pairs_of(policy: Policy) -> list[Row]:
    return encode_pairs(PAIRS, policy.tokenizer, max_length=None)


@pytest.mark.parametrize("kind", ["dpo", "reward-model", "sft"])
def test_the_token_budget_changes_neither_loss_nor_gradient(kind: Any, policy: Policy) -> None:
    examples = pairs_of(policy)
    objective = Objective(loss="dpo", beta=0.3)
    model, references = policy.model, {row.id: (-9.0, -7.0) for row in PAIRS}
    if kind == "reward-model":
        model = reward_model_from_policy(policy).model
        torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(0))
        objective = Objective(loss="bradley-terry", center=0.1)
    if kind == "sft":
        rows = [Demonstration(row.id, row.prompt, row.second, row.weight) for row in PAIRS]
        examples, objective = encode_demonstrations(rows, policy.tokenizer, max_length=None), Objective(loss="nll")
    found = []
    for budget in (10**6, 64, 1):
        result = learnt(model, examples, objective, token_budget=budget, references=references)
        found.append((result.loss, gradients(model)))
    for loss, grads in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-5)
        assert grads.keys() == found[0][1].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, found[0][1][name], rtol=1e-4, atol=1e-5)


def test_the_dpo_loss_and_its_metrics_are_those_worked_out_by_hand_from_the_log_probs(policy: Policy) -> None:
    examples = pairs_of(policy)
    beta, references = 0.3, {"a": (-20.0, -22.0), "b": (-31.0, -20.0), "c": (-6.0, -120.0)}
    logps = score_groups(policy, [row.item for row in examples])
    losses = []
    for row, (first, second) in zip(PAIRS, logps, strict=True):
        h = beta * ((first - references[row.id][0]) - (second - references[row.id][1]))
        losses.append(row.p_first * math.log1p(math.exp(-h)) + (1 - row.p_first) * math.log1p(math.exp(h)))
    expected = (1 * losses[0] + 3 * losses[1] + 1 * losses[2]) / 5
    result = learnt(policy.model, examples, Objective(beta=beta), references=references)
    assert result.loss == pytest.approx(expected, rel=1e-5)
    # chosen is what the label prefers: the first of a, the second of b; c is a tie and has none
    chosen = [beta * (logps[0][0] + 20.0), beta * (logps[1][1] + 20.0)]
    rejected = [beta * (logps[0][1] + 22.0), beta * (logps[1][0] + 31.0)]
    metrics = result.metrics
    assert metrics["rewards/chosen"] == pytest.approx(sum(chosen) / 2, rel=1e-4)
    assert metrics["rewards/rejected"] == pytest.approx(sum(rejected) / 2, rel=1e-4)
    assert metrics["rewards/margins"] == pytest.approx((sum(chosen) - sum(rejected)) / 2, rel=1e-4)
    accuracy = sum(c > r for c, r in zip(chosen, rejected, strict=True)) / 2
    assert metrics["rewards/accuracies"] == accuracy
    assert metrics["logps/chosen"] == pytest.approx((logps[0][0] + logps[1][1]) / 2, rel=1e-4)


def test_a_policy_that_is_its_reference_has_loss_log_2_and_no_accuracy(policy: Policy) -> None:
    examples = pairs_of(policy)
    model = policy.model
    probe = learnt(model, examples[:1], Objective(), references={"a": (0.0, 0.0)})
    sums = (probe.metrics["logps/chosen"], probe.metrics["logps/rejected"])
    result = learnt(model, examples[:1], Objective(), references={"a": sums})
    assert result.loss == pytest.approx(math.log(2), abs=1e-7)
    assert result.metrics["rewards/accuracies"] == 0.0


def test_the_sft_loss_is_the_weighted_mean_over_tokens(policy: Policy) -> None:
    rows = [Demonstration("a", "Say one.", " one"), Demonstration("b", "Say two.", " two two", weight=2.0)]
    examples = encode_demonstrations(rows, policy.tokenizer, max_length=None)
    (one,), (two,) = score_groups(policy, [row.item for row in examples])
    expected = -(one + 2 * two) / (5 + 2 * 9)  # four and eight bytes, and EOS each
    result = learnt(policy.model, examples, Objective(loss="nll"))
    assert result.loss == pytest.approx(expected, rel=1e-5)


def test_the_reward_models_loss_is_that_worked_out_by_hand_from_its_scores(policy: Policy) -> None:
    reward_model = reward_model_from_policy(policy)
    torch.nn.init.normal_(reward_model.model.score.weight, generator=torch.Generator().manual_seed(0))
    examples = pairs_of(policy)
    losses = []
    for row, (first, second) in zip(PAIRS, reward_scores(reward_model, [e.item for e in examples]), strict=True):
        d = first - second
        plain = row.p_first * math.log1p(math.exp(-d)) + (1 - row.p_first) * math.log1p(math.exp(d))
        losses.append(plain + 0.1 * (first + second) ** 2)
    result = learnt(
        reward_model.model,
        examples,
        Objective(loss="bradley-terry", center=0.1),
    )
    assert result.loss == pytest.approx((losses[0] + 3 * losses[1] + losses[2]) / 5, rel=1e-4)


def test_a_row_without_a_reference_is_an_error_and_not_a_zero(policy: Policy) -> None:
    with pytest.raises(IndexError):
        learnt(policy.model, pairs_of(policy), Objective())
