"""The parts of a step, each against numbers that were worked out another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine import train
from prefloop.engine.anchor import Anchor
from prefloop.engine.online.bond import Bond
from prefloop.engine.online.ppo import PPO
from prefloop.engine.pieces import pieces_of, token_logps
from prefloop.engine.step_losses import Answers, RowLoss
from prefloop.engine.sums import Sums
from prefloop.losses.bond import J_BOND_PENALTY
from prefloop.policy.scoring import forward_tokens
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.recipe import Anchor as AnchorSettings
from prefloop.recipes.recipe import Objective
from prefloop.types import Completion, Group, Pair

MakeOnline = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


def answers(row: int, answered: list[tuple[str, tuple[int, ...], float]]) -> Answers:
    completions = tuple(Completion(text="", ids=ids, source=source) for source, ids, _ in answered)
    group = Group(f"p{row}", completions, tuple(score for _, _, score in answered))
    return Answers(row, f"p{row}", "Say.", (83, 97, 121), group)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "ppo", "j-bond", "bond"])
def test_how_rows_are_packed_changes_nothing_but_rounding(make_online: MakeOnline, story: Story, method: str) -> None:
    runs = [make_online(method, f"b{budget}", token_budget=budget) for budget in (64, 8192)]
    for run_dir in runs:
        assert train.run(run_dir).exit_code == 0
    small, large = (story(run_dir)[0] for run_dir in runs)
    for (_, a), (_, b) in zip(small, large, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4, abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


def test_ppos_rewards_add_up_and_its_returns_are_what_is_still_to_come() -> None:
    policy, reference = tiny_policy(seed=1), tiny_policy(seed=2)
    objective = PPO(Objective(loss="ppo", beta=0.5, lambda_=1.0, missing_eos_penalty=0.25))
    objective.modules(policy.model)
    drawn = [answers(0, [("current", (5, 6, 256), 2.0)]), answers(1, [("current", (7, 8), -1.0)])]
    object.__setattr__(drawn[1].group.completions[0], "finished", False)
    (piece,) = pieces_of(policy.model, objective.rows(drawn, {}), token_budget=4096)
    states = forward_tokens(policy.model, piece.packed, with_grad=False)
    piece.kept |= {"old": states.logps, "hidden": states.hidden, "ref": token_logps(reference.model, piece)}
    objective.prepare([piece], Sums())
    k1 = piece.padded(piece.kept["old"] - piece.kept["ref"])[0]
    returns = piece.padded(piece.kept["returns"])[0]
    for row, place in enumerate(piece.places):
        ids, score = piece.rows[place].item.completions[0], piece.rows[place].numbers[0]
        ended = score - (0.25 if ids[-1] != 256 else 0.0)
        for t in range(len(ids)):
            expected = ended - 0.5 * float(k1[row, t : len(ids)].sum())
            assert float(returns[row, t]) == pytest.approx(expected, abs=1e-5)
    flat = piece.kept["advantages"]
    assert float(flat.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(flat.std()) == pytest.approx(1.0, abs=1e-4)


def test_bonds_rewards_are_of_quantiles_and_its_best_is_of_the_first_n() -> None:
    drawn = answers(
        0,
        [("anchor", (1,), 0.0), ("anchor", (2,), 1.0), ("anchor", (3,), 9.0), ("current", (4,), 1.0),
         ("current", (5,), -1.0)],
    )  # fmt: skip
    (row,) = Bond(Objective(loss="bond", n=2)).rows([drawn], {})
    assert row.item.completions == ((4,), (5,), (2,))  # the 9.0 is the third: it measures, but is not imitated
    # counts below, up to: 1 and 2 of 3; 0 and 0. n = 2: log p_up_to + log(1 + p_below / p_up_to)
    assert row.numbers[:2] == pytest.approx((math.log(3 / 4 + 2 / 4), math.log(1 / 4 + 1 / 4)))
    (backward,) = Bond(Objective(loss="bond-backward", n=2)).rows([drawn], {})
    assert backward.numbers == pytest.approx((math.log(3 / 4), math.log(1 / 4)))
    assert backward.item.completions == ((4,), (5,))
    (forward,) = Bond(Objective(loss="bond-forward", n=3)).rows([drawn], {})
    assert forward.item.completions == ((3,),)


@pytest.mark.parametrize(("own", "reward"), [(-1.0, J_BOND_PENALTY), (0.0, 0.0), (0.5, 0.0)])
def test_j_bond_punishes_only_what_is_strictly_below_both(own: float, reward: float) -> None:
    drawn = answers(0, [("current", (4,), own), ("anchor", (1,), 0.0), ("anchor", (2,), 1.0)])
    (row,) = Bond(Objective(loss="j-bond")).rows([drawn], {})
    assert row.numbers == (reward, 0.0)
    assert row.item.completions == ((4,), (2,))


def gradient(objective: Any, rows: list[Any], policy: Any, reference: Any) -> torch.Tensor:
    (piece,) = pieces_of(policy.model, rows, token_budget=4096)
    piece.kept |= {"old": token_logps(policy.model, piece), "ref": token_logps(reference.model, piece)}
    objective.prepare([piece], Sums())
    states = objective.forward(policy.model, piece)
    policy.model.zero_grad()
    (objective.loss(piece, states, Sums()) / objective.denominator(rows)).backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


def test_j_bonds_extra_kl_pulls_towards_the_anchor() -> None:
    policy, anchor = tiny_policy(seed=1), tiny_policy(seed=2)
    drawn = [answers(0, [("current", (4, 9), 5.0), ("anchor", (1,), 0.0), ("anchor", (2,), 1.0)])]
    pulls = []
    for gamma in (0.0, 2.0):
        objective = Bond(Objective(loss="j-bond", gamma=gamma))
        pulls.append(gradient(objective, objective.rows(drawn, {}), policy, anchor))
    (piece,) = pieces_of(policy.model, Bond(Objective(loss="j-bond")).rows(drawn, {}), token_budget=4096)
    states = forward_tokens(policy.model, piece.packed, with_grad=True)
    ratio = piece.sums(states.logps) - piece.sums(token_logps(anchor.model, piece))
    policy.model.zero_grad()
    (2.0 * ratio[0].detach() * piece.sums(states.logps)[0]).backward()
    expected = torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])
    torch.testing.assert_close(pulls[1] - pulls[0], expected, rtol=1e-3, atol=1e-4)


def test_a_pair_and_its_mirror_teach_the_same() -> None:
    policy, reference = tiny_policy(seed=1), tiny_policy(seed=2)
    drawn = answers(0, [("current", (4, 9), 0.0), ("current", (5,), 0.0)])
    found = []
    for pair in (Pair(0, 1, 0.8), Pair(1, 0, 0.2)):
        objective = RowLoss(Objective(loss="dpo", beta=0.3))
        found.append(gradient(objective, objective.rows([drawn], {0: [pair]}), policy, reference))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_student_learns_from_each_of_its_own_answers_what_its_teacher_would_say_next() -> None:
    policy, teacher = tiny_policy(seed=1), tiny_policy(seed=2)
    drawn = answers(0, [("current", (4, 9), 0.0), ("initial", (7,), 0.0), ("current", (5,), 0.0)])
    objective = RowLoss(Objective(loss="gkd", beta=1.0))
    objective.teacher = teacher.model
    rows = objective.rows([drawn], {})
    assert [row.item.completions for row in rows] == [((4, 9),), ((5,),)]
    assert objective.denominator(rows) == 3  # tokens
    (piece,) = pieces_of(policy.model, rows, token_budget=4096)
    found = float(objective.loss(piece, objective.forward(policy.model, piece), Sums()).detach())
    wanted = 0.0
    for answer in ((4, 9), (5,)):  # KL of the student from the teacher, token by token
        ids = torch.tensor([[83, 97, 121, *answer]])
        own, theirs = (one.model(ids).logits[0, 2:-1].log_softmax(-1) for one in (policy, teacher))
        wanted += float((own.exp() * (own - theirs)).sum().detach())
    assert found == pytest.approx(wanted, rel=1e-4)


def test_an_ema_anchor_follows_weight_by_weight_and_a_copy_every_so_many_steps() -> None:
    policy = tiny_policy(seed=1)
    ema, copied = (
        Anchor(AnchorSettings(kind="ema", rate=0.1), policy),
        Anchor(AnchorSettings(kind="copy", every=2), policy),
    )
    start = policy.model.lm_head.weight.detach().clone()
    with torch.no_grad():
        policy.model.lm_head.weight += 1.0
    for step in (1, 2):
        ema.follow(policy.model, step)
        copied.follow(policy.model, step)
        if step == 1:
            torch.testing.assert_close(copied.policy.model.lm_head.weight, start)
    torch.testing.assert_close(ema.policy.model.lm_head.weight, start + 0.19)
    torch.testing.assert_close(copied.policy.model.lm_head.weight, start + 1.0)


def test_an_anchor_of_bf16_weights_does_not_lose_small_updates() -> None:
    policy = tiny_policy(seed=1)
    policy.model.bfloat16()
    anchor = Anchor(AnchorSettings(kind="ema", rate=0.02), policy)
    with torch.no_grad():
        policy.model.lm_head.weight.fill_(1.0)
        for value in anchor._exact.values():
            value.fill_(1.0)
        policy.model.lm_head.weight.fill_(1.0078125)  # the next number that bf16 knows
    for step in range(200):
        anchor.follow(policy.model, step + 1)
    assert float(anchor.policy.model.lm_head.weight[0, 0]) == 1.0078125
