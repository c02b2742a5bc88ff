"""Every loss of the offline and round-by-round methods in the engine, against a plain computation of its own.

The second road runs one prompt and one answer at a time through the model, with all logits, and writes the formula out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine import train
from prefloop.engine.examples import encode_answers, encode_demonstrations, encode_groups, encode_pairs
from prefloop.engine.pieces import Row
from prefloop.policy.loading import Policy, load_policy, save_model
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.events import read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import EXIT_LEFT, read_failure
from prefloop.recipes.snapshots import Demonstration, RankedGroup
from prefloop.types import TrainingPair
from tests.prefloop.engine.one_pass import learnt

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]
PAIRS = [
    TrainingPair("a", "Say one.", " one", " two", p_first=1.0, target=" one and all"),
    TrainingPair("b", "Say two.", " one one", " two", p_first=0.0, weight=3.0),
    TrainingPair("c", "Say a very long thing.", "", " it is a very long thing, this one", p_first=0.0),
]
GROUPS = [
    RankedGroup("a", "Say one.", (" one", " two", " three and four"), (0.3, -1.0, 2.0)),
    RankedGroup("b", "Say two.", (" two", " 2"), (1.0, 1.0), weight=2.0),
    RankedGroup("c", "Say a thing.", (" it", "", " a thing", " things"), (0.0, 1.0, 0.5, -3.0)),
]
ANSWERS = [Demonstration(row.id, row.prompt, row.second, row.weight, desirable=row.id == "b") for row in PAIRS]
MISMATCHED = 1.5
REFERENCES = {"a": (-20.0, -22.0), "b": (-31.0, -20.0), "c": (-6.0, -120.0)}
OBJECTIVES = {
    "ipo": Objective(loss="ipo", tau=0.2),
    "ipo-mean": Objective(loss="ipo", tau=0.2, form="mean"),
    "sigmoid-norm": Objective(loss="rso", gamma=0.3),
    "hinge-norm": Objective(loss="rso", gamma=0.3, form="hinge-norm"),
    "oaif-slic": Objective(loss="hinge-norm", gamma=0.02),
    "spin": Objective(loss="spin", lambda_=0.4),
    "bo2": Objective(loss="bo2"),
    "slic": Objective(loss="slic", delta=30.0, lambda_=0.2),
    "slic without regulariser": Objective(loss="slic", delta=30.0, lambda_=0.0),
    "simpo": Objective(loss="simpo", beta=1.5, gamma=0.4),
    "wpo": Objective(loss="wpo", beta=0.2),
    "r-dpo": Objective(loss="r-dpo", beta=0.2, alpha=0.05),
    "orpo": Objective(loss="orpo", lambda_=0.7),
    "click": Objective(loss="click", alpha=25.0, gamma=0.3),
    "cringe": Objective(loss="cringe", alpha=0.7, k=3, b=5.0, tau=8.0),
    "rrhf": Objective(loss="rrhf", rank_weight=2.0),
    "kto": Objective(loss="kto", beta=0.2, desirable_weight=1.3, undesirable_weight=0.8),
    "gkd": Objective(loss="gkd", beta=0.3),
    "gkd forward": Objective(loss="gkd", beta=0.0),
}


@pytest.fixture
def policy() -> Policy:
    return tiny_policy(seed=3, std=0.2)


@pytest.fixture
def teacher() -> Any:
    return tiny_policy(seed=5, std=0.3).model


def encoded(policy: Policy, settings: Objective) -> list[Row]:
    if settings.rows == "groups":
        return encode_groups(GROUPS, policy.tokenizer, max_length=None)
    if settings.rows == "answers":
        return encode_answers(ANSWERS, policy.tokenizer, max_length=None)
    if settings.rows == "demonstrations":
        rows = [Demonstration(row.id, row.prompt, row.second, row.weight) for row in PAIRS]
        return encode_demonstrations(rows, policy.tokenizer, max_length=None)
    return encode_pairs(PAIRS, policy.tokenizer, max_length=None, target=settings.target)


def logits_of(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
    """The logits (T, V) that predict the answer's tokens."""
    return model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].double()


def logp(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
    return logits_of(model, prompt, answer).log_softmax(-1)[range(len(answer)), list(answer)].sum()


def cringe_per_token(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...], k: int) -> torch.Tensor:
    """Mean over tokens and over the draw among the k likeliest others."""
    total = torch.zeros((), dtype=torch.float64)
    for row, unwanted in zip(logits_of(model, prompt, answer), answer, strict=True):
        order = [token for token in row.argsort(descending=True).tolist() if token != unwanted][:k]
        chances = row[order].detach().softmax(-1)
        for chance, token in zip(chances, order, strict=True):
            total = total - chance * torch.nn.functional.logsigmoid(row[token] - row[unwanted])
    return total / len(answer)


def likely_per_token(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
    """Mean over tokens of how likely each is beside the chance that two draws agree, without gradient."""
    law = logits_of(model, prompt, answer).detach().softmax(-1)
    return (law[range(len(answer)), list(answer)] / (law**2).sum(-1)).log().mean()


def plain_pair(model: Any, row: Row, settings: Objective, reference: tuple[float, float]) -> torch.Tensor:
    prompt, (first, second, *_) = row.item.prompt_ids, row.item.completions
    won = row.p_first == 1.0
    better, worse = (first, second) if won else (second, first)
    ref_better, ref_worse = reference if won else reference[::-1]
    up, down = logp(model, prompt, better), logp(model, prompt, worse)
    h = (up - ref_better) - (down - ref_worse)
    zero = torch.zeros((), dtype=torch.float64)
    match settings.loss, settings.form:
        case "ipo", "mean":
            h = (up - ref_better) / len(better) - (down - ref_worse) / len(worse)
            return (h - 1 / (2 * settings.tau)) ** 2
        case "ipo", _:
            return (h - 1 / (2 * settings.tau)) ** 2
        case "rso", "sigmoid-norm":
            return -torch.nn.functional.logsigmoid(settings.gamma * h)
        case "rso" | "hinge-norm", _:
            return torch.maximum(zero, 1 - settings.gamma * h)
        case "spin", _:
            return -torch.nn.functional.logsigmoid(settings.lambda_ * h)
        case "bo2", _:
            return -up
        case "orpo", _:
            odds = [(p := (one / len(ids)).exp()) / (1 - p) for one, ids in ((up, better), (down, worse))]
            return -settings.lambda_ * torch.nn.functional.logsigmoid((odds[0] / odds[1]).log())
        case "wpo", _:
            weight = torch.exp(likely_per_token(model, prompt, better) + likely_per_token(model, prompt, worse))
            return -weight * torch.nn.functional.logsigmoid(settings.beta * h)
        case "r-dpo", _:
            shorter = settings.alpha * (len(better) - len(worse))
            return -torch.nn.functional.logsigmoid(settings.beta * h + shorter)
        case "simpo", _:
            lead = settings.beta * (up / len(better) - down / len(worse))
            return -torch.nn.functional.logsigmoid(lead - settings.gamma)
        case "slic", _:
            target = row.item.completions[row.target] if row.target is not None else ()
            kept = settings.lambda_ * logp(model, prompt, target) if target else zero
            return torch.maximum(zero, settings.delta - up + down) - kept
        case "click", _:
            return settings.gamma * torch.maximum(zero, settings.alpha - up + down)
        case "cringe", _:
            gate = torch.sigmoid((settings.b - (up - down).detach()) / settings.tau)
            return gate * (-up / len(better) + settings.alpha * cringe_per_token(model, prompt, worse, settings.k))
    raise AssertionError(settings.loss)


def plain_answer(model: Any, row: Row, settings: Objective, reference: float) -> torch.Tensor:
    lead = logp(model, row.item.prompt_ids, row.item.completions[0]) - reference - MISMATCHED
    if row.desirable:
        return settings.desirable_weight * (1 - torch.sigmoid(settings.beta * lead))  # type: ignore[no-any-return]
    return settings.undesirable_weight * (1 - torch.sigmoid(-settings.beta * lead))  # type: ignore[no-any-return]


def plain_group(model: Any, row: Row, settings: Objective) -> torch.Tensor:
    sums = [logp(model, row.item.prompt_ids, answer) for answer in row.item.completions]
    means = [one / len(answer) for one, answer in zip(sums, row.item.completions, strict=True)]
    rank = torch.zeros((), dtype=torch.float64)
    for i, r_i in enumerate(row.numbers):
        for j, r_j in enumerate(row.numbers):
            if r_i < r_j:
                rank = rank + torch.clamp(means[i] - means[j], min=0)
    best = [one for one, score in zip(sums, row.numbers, strict=True) if score == max(row.numbers)]
    return settings.rank_weight * rank - sum(best) / len(best)  # type: ignore[no-any-return]


def plain_divergence(model: Any, teacher: Any, row: Row, beta: float) -> torch.Tensor:
    (answer,) = row.item.completions
    student = logits_of(model, row.item.prompt_ids, answer).softmax(-1)
    with torch.no_grad():
        theirs = logits_of(teacher, row.item.prompt_ids, answer).softmax(-1)
    if beta == 0:
        return (theirs * (theirs / student).log()).sum()
    mixed = beta * theirs + (1 - beta) * student
    return beta * (theirs * (theirs / mixed).log()).sum() + (1 - beta) * (student * (student / mixed).log()).sum()


def plain_loss(model: Any, examples: list[Row], settings: Objective, teacher: Any) -> torch.Tensor:
    weight = sum(row.weight for row in examples)
    if settings.rows == "demonstrations":
        total = sum(row.weight * plain_divergence(model, teacher, row, settings.beta) for row in examples)
        return total / sum(row.weight * row.n_tokens for row in examples)  # type: ignore[return-value]
    if settings.rows == "answers":
        parts = [row.weight * plain_answer(model, row, settings, REFERENCES[row.id][0]) for row in examples]
        return sum(parts) / weight  # type: ignore[return-value]
    if settings.rows == "groups":
        return sum(row.weight * plain_group(model, row, settings) for row in examples) / weight  # type: ignore
    loss: Any = sum(row.weight * plain_pair(model, row, settings, REFERENCES[row.id]) for row in examples) / weight
    if settings.loss in ("click", "orpo"):
        targets = [(row, row.item.completions[row.target]) for row in examples if row.target is not None]
        nats = sum(row.weight * -logp(model, row.item.prompt_ids, target) for row, target in targets)
        loss = loss + nats / sum(row.weight * len(target) for row, target in targets)
    return loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_loss_and_gradient_are_those_of_a_plain_computation_whatever_the_token_budget(
    name: str, policy: Policy, teacher: Any
) -> None:
    settings = OBJECTIVES[name]
    examples = encoded(policy, settings)
    expected = plain_loss(policy.model, examples, settings, teacher)
    expected.backward()
    wanted = gradients(policy.model)
    assert max(float(grad.abs().max()) for grad in wanted.values()) > 1e-3  # something is to be learnt
    for budget in (10**6, 64, 1):
        result = learnt(
            policy.model,
            examples,
            settings,
            token_budget=budget,
            references=REFERENCES,
            teacher=teacher,
            mismatched=MISMATCHED,
        )
        assert result.loss == pytest.approx(float(expected.detach()), rel=2e-5)
        for key, grad in gradients(policy.model).items():
            torch.testing.assert_close(grad, wanted[key], rtol=2e-3, atol=2e-4)


def test_a_target_that_is_one_of_the_two_is_not_read_twice(policy: Policy) -> None:
    settings = OBJECTIVES["slic"]
    examples = encoded(policy, settings)
    assert [(len(row.item.completions), row.target) for row in examples] == [(3, 2), (2, 1), (2, 1)]
    plain = encode_pairs(PAIRS, policy.tokenizer, max_length=None)
    assert [row.target for row in plain] == [None, None, None]


def test_a_student_that_is_its_teacher_learns_nothing(policy: Policy) -> None:
    settings = Objective(loss="gkd", beta=0.5)
    result = learnt(
        policy.model,
        encoded(policy, settings),
        settings,
        token_budget=64,
        teacher=tiny_policy(seed=3, std=0.2).model,
    )
    assert result.loss == pytest.approx(0, abs=1e-7)


def test_a_solved_pair_is_let_go_by_the_gate_of_cringe(policy: Policy) -> None:
    examples = encoded(policy, OBJECTIVES["cringe"])
    open_gate = dataclasses.replace(OBJECTIVES["cringe"], b=1e4)
    shut = dataclasses.replace(OBJECTIVES["cringe"], b=-1e4)
    results = [learnt(policy.model, examples, settings) for settings in (open_gate, shut)]
    assert [round(result.metrics["cringe/gate"], 6) for result in results] == [1.0, 0.0]
    assert results[1].loss == pytest.approx(0, abs=1e-6)


GROUP_ROWS = [
    RankedGroup(f"g{n}", f"Say {n}.", (" good", " bad", " good good"), (1.0, -1.0, float(n % 3))) for n in range(10)
]
HARD = [TrainingPair(f"r{n}", f"Say {n}.", " yes", " no no", p_first=float(n % 2)) for n in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rso", "slic", "click", "cringe", "rrhf", "kto", "gkd"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(kind: str, make_run: MakeRun, story: Story) -> None:
    rows: Any = {"rrhf": GROUP_ROWS, "gkd": None, "kto": None}.get(kind, HARD)
    straight, broken = (
        make_run(name, kind=kind, rows=rows, objective={"epochs": 2}) for name in ("straight", "broken")
    )
    assert train.run(straight).exit_code == 0

    def leave() -> bool:
        return any(event.type == "metric" for event in read_events(broken / "events.jsonl")[0])

    assert train.run(broken, should_leave=leave).exit_code == EXIT_LEFT
    torch.manual_seed(123)  # what happened elsewhere must not matter
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)
    losses = [values["loss"] for _, values in story(straight)[0]]
    assert all(math.isfinite(loss) for loss in losses)
    assert len(set(losses)) > 1 or kind == "gkd"  # a student that is its own teacher has nothing to learn


@pytest.mark.slow
def test_rrhf_orders_likelihoods_as_the_scores_do(make_run: MakeRun, story: Story) -> None:
    rows = [RankedGroup(f"g{n}", f"Say {n}.", (" bad", " good"), (0.0, 1.0)) for n in range(8)]
    run_dir = make_run(kind="rrhf", rows=rows, objective={"epochs": 8, "lr": 3e-3})
    assert train.run(run_dir).exit_code == 0
    metrics = story(run_dir)[0]
    assert metrics[-1][1]["rewards/accuracies"] == 1.0
    assert metrics[-1][1]["logps/chosen"] > metrics[0][1]["logps/chosen"]


@pytest.mark.slow
def test_a_student_comes_nearer_to_its_teacher(make_run: MakeRun, story: Story, tmp_path: Path) -> None:
    other = tiny_policy(seed=9)
    save_model(other.model, other.tokenizer, tmp_path / "teacher")
    run_dir = make_run(kind="gkd", objective={"epochs": 6, "lr": 3e-3}, reference=str(tmp_path / "teacher"))
    assert train.run(run_dir).exit_code == 0
    losses = [values["loss"] for _, values in story(run_dir)[0]]
    assert losses[-1] < 0.5 * losses[0]
    # the teacher was not touched
    kept = load_policy(tmp_path / "teacher").model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in other.model.state_dict().items())


def test_a_teacher_of_another_vocabulary_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    other = tiny_policy(seed=9)
    other.tokenizer.add_tokens(["<another>"])
    save_model(other.model, other.tokenizer, tmp_path / "teacher")
    run_dir = make_run(kind="gkd", reference=str(tmp_path / "teacher"))
    assert train.run(run_dir).exit_code == 2
    failure = read_failure(run_dir)
    assert failure is not None
    assert "different vocabularies" in failure.message


def test_every_loss_that_a_snapshot_can_feed_is_tried_here() -> None:
    losses = {
        recipe.objective.loss
        for recipe in CATALOGUE.values()
        if recipe.objective.rows != "none" and not recipe.objective.only_in_steps
    }
    tried = {settings.loss for settings in OBJECTIVES.values()}
    assert losses - tried == {"nll", "bradley-terry", "dpo"}  # in test_objectives.py
