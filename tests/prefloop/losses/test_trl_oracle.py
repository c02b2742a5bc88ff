"""Our losses against TRL's trainers, each with its own forward pass, on the same tokens of a tiny Qwen2.

TRL pads, shifts and masks in its way and we pack prompts once, so what is compared is the whole road from token ids to
the mean loss. TRL has cDPO no more, but its `robust` loss is made of the same two terms: with L and L' the losses of
the label and of its reverse, sigmoid is L, robust ((1 - e) L - e L') / (1 - 2 e), cDPO (1 - e) L + e L'.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine.tokens import forward_collision
from prefloop.losses.declaration import PairBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.gkd import generalised_jsd_loss
from prefloop.losses.ipo import ipo_loss, ipo_mean_loss
from prefloop.losses.orpo import odds_ratio_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.reward_model import bradley_terry_loss
from prefloop.losses.simpo import simpo_loss
from prefloop.losses.slic import hinge_norm_loss
from prefloop.losses.wpo import log_weight, wpo_loss
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.loading import reward_model_from_policy
from prefloop.policy.scoring import forward_logps, forward_rewards
from prefloop.policy.tiny import END, tiny_policy
from tests.prefloop.losses.with_trl import settings_of

pytestmark = [
    pytest.mark.slow,  # importing TRL takes seconds
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ROWS = [
    {"prompt": "Write a note.", "chosen": "Dear Maria, thank you.", "rejected": "Thanks"},
    {"prompt": "Say hello to Ben, please.", "chosen": "Hello Ben!", "rejected": "What do you want from me again?"},
    {"prompt": "Q", "chosen": "A short one", "rejected": "another, a little longer"},
]
EPSILON = 0.1


@pytest.fixture(scope="module")
def dpo_mean(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[float, list[PackItem]]]:
    """TRL's mean loss of ROWS under tiny policy 1 with reference 2, and the tokens that it was computed on."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, reference = tiny_policy(seed=1), tiny_policy(seed=2)

    def compute(**settings: Any) -> tuple[float, list[PackItem]]:
        trainer = DPOTrainer(
            model=policy.model,
            ref_model=reference.model,
            args=DPOConfig(**settings_of(tmp_path_factory.mktemp("trl")), **settings),
            train_dataset=Dataset.from_list(ROWS),
            processing_class=policy.tokenizer,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.eval()
        with torch.no_grad():
            loss = trainer._compute_loss(trainer.model, dict(batch), return_outputs=False)
        return float(loss), _items(batch)

    return compute


def _items(batch: Any) -> list[PackItem]:
    """The pairs of TRL's batch, which holds the chosen answers first: prompt once, its two completions."""
    n = len(batch["input_ids"]) // 2
    rows = []
    for at in range(2 * n):
        seen, own = batch["attention_mask"][at].bool(), batch["completion_mask"][at].bool()
        ids = batch["input_ids"][at]
        rows.append((tuple(ids[seen & ~own].tolist()), tuple(ids[seen & own].tolist())))
    assert all(rows[at][0] == rows[n + at][0] for at in range(n))
    return [PackItem(rows[at][0], (rows[at][1], rows[n + at][1])) for at in range(n)]


def _ours(items: list[PackItem]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Log-prob sums (chosen, rejected, and the reference's of both), and the lengths of both."""
    sums = []
    for seed in (1, 2):
        (packed,) = pack_groups(items, token_budget=100_000)
        logps = forward_logps(tiny_policy(seed=seed).model, packed, with_grad=False)
        which = torch.tensor([side for _, side in packed.slots])
        sums += [logps[which == 0], logps[which == 1]]
        lengths = packed.lengths()
    return sums, [lengths[which == 0], lengths[which == 1]]


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_and_hinge_norm_are_trls(dpo_mean: Any, beta: float) -> None:
    theirs, items = dpo_mean(loss_type=["sigmoid"], beta=beta)
    sums, lengths = _ours(items)
    assert int(torch.cat(lengths).max()) > int(torch.cat(lengths).min())  # padding is in play
    assert dpo_loss(*sums, beta=beta).loss.mean().item() == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    theirs, items = dpo_mean(loss_type=["hinge"], beta=beta)
    sums, _ = _ours(items)
    assert hinge_norm_loss(*sums, gamma=beta).loss.mean().item() == pytest.approx(theirs, abs=1e-5, rel=1e-5)


def test_wpo_is_trls_with_its_weights(dpo_mean: Any) -> None:
    theirs, items = dpo_mean(loss_type=["sigmoid"], beta=0.3, use_weighting=True)
    sums, _ = _ours(items)
    model = tiny_policy(seed=1).model
    (packed,) = pack_groups(items, token_budget=100_000)
    logps, collisions = forward_collision(model, packed)
    which = torch.tensor([side for _, side in packed.slots])
    weights = log_weight(logps, collisions, packed.lengths())
    ours = wpo_loss(*sums, weights[which == 0], weights[which == 1], beta=0.3).loss.mean().item()
    assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert ours != pytest.approx(dpo_loss(*sums, beta=0.3).loss.mean().item(), rel=1e-3)


def test_conservative_dpo_is_trls_two_terms(dpo_mean: Any) -> None:
    theirs, items = dpo_mean(
        loss_type=["sigmoid", "robust"],
        loss_weights=[2 * (1 - EPSILON), -(1 - 2 * EPSILON)],
        label_smoothing=EPSILON,
        beta=0.1,
    )
    sums, _ = _ours(items)
    ours = dpo_loss(*sums, beta=0.1, flip_probability=EPSILON).loss.mean().item()
    assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert ours != pytest.approx(dpo_loss(*sums, beta=0.1).loss.mean().item(), abs=1e-3)


def test_ipo_per_token_is_trls_and_ipo_of_sums_is_not(dpo_mean: Any) -> None:
    theirs, items = dpo_mean(loss_type=["ipo"], beta=0.1)
    sums, (first, second) = _ours(items)
    means = [sums[0] / first, sums[1] / second, sums[2] / first, sums[3] / second]
    assert ipo_mean_loss(*means, tau=0.1).loss.mean().item() == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert ipo_loss(*sums, tau=0.1).loss.mean().item() != pytest.approx(theirs, rel=1e-2)


@pytest.fixture(scope="module")
def without_reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A trainer of TRL's for losses that know no reference, under tiny policy 1, and the pairs of its batch."""
    from datasets import Dataset

    def make(trainer_class: Any, config: Any, **settings: Any) -> tuple[Any, Any, list[PackItem]]:
        policy = tiny_policy(seed=1)
        policy.tokenizer.pad_token = END
        policy.model.config.pad_token_id = policy.tokenizer.pad_token_id
        common = settings_of(tmp_path_factory.mktemp("trl")) | {"max_length": 512}
        trainer = trainer_class(
            model=policy.model,
            args=config(**common, **settings),
            train_dataset=Dataset.from_list(ROWS),
            processing_class=policy.tokenizer,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.eval()
        items = []
        for at in range(len(ROWS)):
            answers = [_labelled(batch, f"{side}_input_ids", f"{side}_labels", at) for side in ("chosen", "rejected")]
            assert answers[0][0] == answers[1][0]
            items.append(PackItem(answers[0][0], (answers[0][1], answers[1][1])))
        return trainer, batch, items

    return make


def _labelled(batch: Any, ids: str, labels: str, at: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The prompt's tokens, which carry no label, and the answer's."""
    row, label = batch[ids][at].tolist(), batch[labels][at].tolist()
    first = next(place for place, value in enumerate(label) if value != -100)
    answer = tuple(value for value in label[first:] if value != -100)
    return tuple(row[:first]), answer


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (2.5, 0.75)])
def test_simpo_is_trls(without_reference: Any, beta: float, gamma: float) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    settings = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": beta, "simpo_gamma": gamma}
    trainer, batch, items = without_reference(CPOTrainer, CPOConfig, **settings)
    with torch.no_grad():
        theirs, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
    sums, lengths = _ours(items)
    means = [one / length for one, length in zip(sums, lengths, strict=False)]
    ours = simpo_loss(*means, beta=beta, gamma=gamma)
    assert ours.loss.mean().item() == pytest.approx(float(theirs), abs=1e-5, rel=1e-5)
    margin = (ours.chosen_reward - ours.rejected_reward).mean().item()
    assert margin == pytest.approx(metrics["rewards/margins"], abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("lambda_", [0.1, 0.5])
def test_orpo_is_trls_but_for_the_prompts_likelihood(without_reference: Any, lambda_: float) -> None:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer, batch, items = without_reference(ORPOTrainer, ORPOConfig, beta=lambda_)
    with torch.no_grad():
        theirs, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
        likelihood = trainer.concatenated_forward(trainer.model, batch)[4]  # of prompt and answer
    (chosen, rejected, *_), lengths = _ours(items)
    ours = odds_ratio_loss(chosen / lengths[0], rejected / lengths[1])
    assert lambda_ * ours.loss.mean().item() == pytest.approx(float(theirs - likelihood), abs=1e-5, rel=1e-5)
    ratio = (ours.chosen_log_odds - ours.rejected_log_odds).mean().item()
    assert ratio == pytest.approx(float(metrics["log_odds_chosen"]), abs=1e-5, rel=1e-5)
    p = torch.ones_like(chosen)
    rows = LOSSES["orpo"].loss(
        PairBatch(chosen, rejected, p, first_length=lengths[0], second_length=lengths[1]), lambda_=lambda_
    )
    torch.testing.assert_close(rows.loss, lambda_ * ours.loss)
    torch.testing.assert_close(rows.extra, -chosen)


@pytest.mark.parametrize("center", [None, 0.01])
def test_the_reward_models_loss_is_trls(tmp_path: Path, center: float | None) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    policy = tiny_policy(seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reward_model = reward_model_from_policy(policy)
        torch.nn.init.normal_(reward_model.model.score.weight, std=0.5)
    # transformers reads the score at the last token that is not padding: where padding is EOS, it would miss the EOS
    policy.tokenizer.pad_token = END
    reward_model.model.config.pad_token_id = policy.tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=reward_model.model,
        args=RewardConfig(**settings_of(tmp_path), center_rewards_coefficient=center),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=policy.tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, dict(batch)))
    ids = [
        tuple(row[mask.bool()].tolist()) for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    # TRL does not say where the prompt ends: any split of its tokens is the same sequence
    (packed,) = pack_groups([PackItem(row[:1], (row[1:],)) for row in ids], token_budget=100_000)
    rewards = torch.empty(len(ids))
    rewards[[item for item, _ in packed.slots]] = forward_rewards(reward_model.model, packed, with_grad=False)
    n = len(ROWS)
    result = bradley_terry_loss(rewards[:n], rewards[n:], center_coef=center or 0.0)
    assert result.difference.abs().min() > 0.01
    assert result.loss.mean().item() == pytest.approx(theirs, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_divergence_from_a_teacher_is_trls(beta: float) -> None:
    """On-policy distillation, too, is GKD's loss: of the student's fresh answers."""
    from trl.experimental.gkd import GKDTrainer

    student, teacher = (tiny_policy(seed=seed).model(torch.arange(40)[None]).logits.detach() for seed in (1, 2))
    theirs = GKDTrainer.generalized_jsd_loss(student, teacher, torch.arange(40)[None], beta=beta, temperature=0.9)
    ours = generalised_jsd_loss(teacher[0], student[0], beta=beta, temperature=0.9).loss.mean()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
