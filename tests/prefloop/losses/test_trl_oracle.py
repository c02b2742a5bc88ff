"""Our losses against TRL's trainers, each with its own forward pass, on the same tokens of a tiny Qwen2.

TRL pads, shifts and masks in its way and we pack prompts once, so what is compared is the whole road from token ids to
the mean loss. TRL has cDPO no more, but its `robust` loss is made of the same two terms: with L and L' the losses of
the label and of its reverse, sigmoid is L, robust ((1 - e) L - e L') / (1 - 2 e), cDPO (1 - e) L + e L'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine import train
from prefloop.engine.examples import encode_answers
from prefloop.engine.pieces import Row
from prefloop.losses.declaration import PairBatch, SampleBatch
from prefloop.losses.dpo import dpo_loss
from prefloop.losses.grpo import group_advantages
from prefloop.losses.ipo import ipo_loss, ipo_mean_loss
from prefloop.losses.orpo import odds_ratio_loss
from prefloop.losses.registry import LOSSES
from prefloop.losses.reward_model import bradley_terry_loss
from prefloop.losses.simpo import simpo_loss
from prefloop.losses.slic import hinge_norm_loss
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.loading import reward_model_from_policy, save_model
from prefloop.policy.scoring import forward_logps, forward_rewards
from prefloop.policy.tiny import END, tiny_policy
from prefloop.recipes.events import read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import Demonstration, write_snapshot
from tests.prefloop.engine.one_pass import learnt

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
            args=DPOConfig(**_common(tmp_path_factory.mktemp("trl")), **settings),
            train_dataset=Dataset.from_list(ROWS),
            processing_class=policy.tokenizer,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.eval()
        with torch.no_grad():
            loss = trainer._compute_loss(trainer.model, dict(batch), return_outputs=False)
        return float(loss), _items(batch)

    return compute


def _common(directory: Path) -> dict[str, Any]:
    return {
        "output_dir": str(directory),
        "per_device_train_batch_size": len(ROWS),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "max_length": None,
        "disable_tqdm": True,
    }


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
        common = _common(tmp_path_factory.mktemp("trl")) | {"max_length": 512}
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


UNPAIRED = [
    {"prompt": "Write a note.", "completion": "Dear Maria, thank you.", "label": True},
    {"prompt": "Say hello to Ben, please.", "completion": "What do you want from me again?", "label": False},
    {"prompt": "Q", "completion": "A short one", "label": True},
    {"prompt": "Name a town.", "completion": "no", "label": False},
    {"prompt": "And another one.", "completion": "Bergen", "label": True},
]
WEIGHTS = {"desirable_weight": 1.2, "undesirable_weight": 0.7}


@pytest.fixture
def kto_trainer(tmp_path: Path) -> Callable[..., Any]:
    """TRL's trainer of UNPAIRED, all in one batch: policy 1 learns, policy 2 is the reference."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    def make(**settings: Any) -> Any:
        policy = tiny_policy(seed=1)
        policy.tokenizer.pad_token = END
        common = _common(tmp_path) | {"per_device_train_batch_size": len(UNPAIRED)}
        return KTOTrainer(
            model=policy.model,
            ref_model=tiny_policy(seed=2).model,
            args=KTOConfig(**common, **WEIGHTS, **settings),
            train_dataset=Dataset.from_list(UNPAIRED),
            processing_class=policy.tokenizer,
        )

    return make


def _unpaired(batch: Any) -> list[Demonstration]:
    """The rows of TRL's batch with its own token ids, the prompts as texts."""
    rows = []
    for at, row in enumerate(UNPAIRED):
        own = batch["completion_mask"][at].bool()
        ids = tuple(batch["input_ids"][at][own].tolist())
        rows.append(Demonstration(str(at), row["prompt"], row["completion"], 1.0, ids, desirable=row["label"]))
    return rows


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_kto_and_its_gradient_are_trls(kto_trainer: Any, beta: float) -> None:
    trainer = kto_trainer(beta=beta)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    theirs = trainer._compute_loss(trainer.model, dict(batch), return_outputs=False)
    theirs.backward()
    wanted = {name: weight.grad for name, weight in trainer.model.named_parameters()}
    (kl,) = trainer._metrics["eval"]["kl"]
    assert kl > 1e-2  # it is not cut at 0

    policy = tiny_policy(seed=1)
    rows = encode_answers(_unpaired(batch), policy.tokenizer, max_length=None)
    mixed = [row.mismatched for row in rows if row.mismatched is not None]
    sums = [_sums_of(tiny_policy(seed=seed).model, chosen) for seed in (1, 2) for chosen in (rows, mixed)]
    mismatched = float((sums[1] - sums[3]).mean())
    assert mismatched == pytest.approx(kl, abs=1e-5, rel=1e-5)
    references = {row.id: (value,) for row, value in zip(rows, sums[2].tolist(), strict=True)}
    settings = Objective(loss="kto", beta=beta, **WEIGHTS)
    ours = learnt(policy.model, rows, settings, references=references, mismatched=mismatched)
    assert ours.loss == pytest.approx(theirs.item(), abs=1e-5, rel=1e-5)
    for name, weight in policy.model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], atol=1e-5, rtol=1e-3)


def _sums_of(model: Any, rows: list[Row]) -> torch.Tensor:
    (packed,) = pack_groups([row.item for row in rows], token_budget=10**6)
    found = forward_logps(model, packed, with_grad=False)
    return found[torch.tensor([item for item, _ in packed.slots]).argsort()]


def test_a_short_training_with_kto_is_trls(kto_trainer: Any, tmp_path: Path) -> None:
    n_steps, lr = 6, 1e-4
    trainer = kto_trainer(
        beta=0.3, learning_rate=lr, lr_scheduler_type="constant", max_steps=n_steps, logging_steps=1, save_strategy="no"
    )
    rows = _unpaired(next(iter(trainer.get_train_dataloader())))
    trainer.train()
    told = [row for row in trainer.state.log_history if "kl" in row]

    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for seed in (1, 2):
        policy = tiny_policy(seed=seed)
        save_model(policy.model, policy.tokenizer, tmp_path / f"policy{seed}")
    info = write_snapshot(run_dir / "snapshot.jsonl", rows)
    objective = Objective(loss="kto", beta=0.3, lr=lr, epochs=n_steps, batch=len(rows), **WEIGHTS)
    start, other = (str(tmp_path / f"policy{seed}") for seed in (1, 2))
    spec = RunSpec(
        run_id="run", kind="kto", start=start, reference=other, objective=objective, snapshot_sha256=info.sha256
    )
    write_spec(run_dir, spec)
    assert train.run(run_dir).exit_code == 0
    events = read_events(run_dir / "events.jsonl")[0]
    ours = [event.data["values"] for event in events if event.type == "metric"]
    assert len(ours) == len(told) == n_steps
    for mine, theirs in zip(ours, told, strict=True):
        assert mine["kto/kl"] == pytest.approx(theirs["kl"], abs=1e-4, rel=1e-4)
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5, rel=1e-5)
    assert ours[-1]["loss"] < ours[0]["loss"] - 1e-3  # something was learnt


@pytest.fixture(scope="module")
def own_samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A trainer of TRL's for own answers, the inputs of its loss, and the same answers as our batch.

    Two prompts with three answers each: policy 1 learns, policy 3 answered, policy 2 is the reference.
    """
    from datasets import Dataset

    def make(trainer_class: Any, config: Any, scores: torch.Tensor, **settings: Any) -> tuple[Any, Any, SampleBatch]:
        policy = tiny_policy(seed=1)
        policy.tokenizer.pad_token = END
        common = {key: value for key, value in _common(tmp_path_factory.mktemp("trl")).items() if key != "max_length"}
        common["per_device_train_batch_size"] = 6
        trainer = trainer_class(
            model=policy.model,
            reward_funcs=lambda completions, **more: [0.0] * len(completions),
            args=config(**common, num_generations=3, max_completion_length=12, beta=0.0, **settings),
            train_dataset=Dataset.from_list([{"prompt": "Say one."}, {"prompt": "Say two."}]),
            processing_class=policy.tokenizer,
        )
        trainer.model.eval()
        answers = [(72, 105), (72, 111, 33, 33, 33), (65,), (66, 67, 68), (90, 90, 90, 90), (71, 72)]
        prompts = [tuple(b"Say one.")] * 3 + [tuple(b"Say two.")] * 3
        longest = max(map(len, answers))
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in answers])
        inputs = {
            "prompt_ids": torch.tensor(prompts),
            "prompt_mask": torch.ones(6, len(prompts[0]), dtype=torch.long),
            "completion_ids": torch.tensor([list(ids) + [0] * (longest - len(ids)) for ids in answers]),
            "completion_mask": mask,
        }

        def tokens(model: Any, *, with_grad: bool = False) -> torch.Tensor:
            (packed,) = pack_groups(
                [PackItem(p, (a,)) for p, a in zip(prompts, answers, strict=True)], token_budget=10**5, shared=False
            )
            flat = forward_logps(model, packed, with_grad=with_grad, return_token=True)
            rows = torch.zeros(mask.shape)
            order = [item for item, _ in packed.slots]
            parts = [flat[packed.owner == at] for at in range(packed.n_completions)]
            padded = [torch.cat([part, part.new_zeros(longest - len(part))]) for part in parts]
            return torch.stack([padded[order.index(at)] for at in range(len(rows))])

        batch = SampleBatch(
            logp=tokens(policy.model, with_grad=True),
            old_logp=tokens(tiny_policy(seed=3).model),
            ref_logp=tokens(tiny_policy(seed=2).model),
            mask=mask.bool(),
            scores=scores,
            group=torch.tensor([0, 0, 0, 1, 1, 1]),
            longest=12,
        )
        return trainer, inputs, batch

    return make


def _gradient(loss: torch.Tensor, model: Any) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True))


SCORES = torch.tensor([1.0, -0.5, 2.0, 0.3, 0.1, -3.0])


def test_rloos_gradient_is_trls(own_samples: Any) -> None:
    from trl import RLOOConfig, RLOOTrainer

    beta = 0.3
    trainer, inputs, batch = own_samples(RLOOTrainer, RLOOConfig, SCORES)
    batch = replace(batch, old_logp=batch.logp.detach())  # fresh answers
    old, ref = batch.old_logp.sum(1), batch.ref_logp.sum(1)
    returns = (SCORES - beta * (old - ref)).reshape(2, 3)
    others = (returns.sum(1, keepdim=True) - returns) / 2  # as in its `_generate_and_score_completions`
    inputs |= {"old_logps": old, "advantages": (returns - others).reshape(-1)}
    theirs = _gradient(trainer._compute_loss(trainer.model, inputs), trainer.model)
    rows = LOSSES["rloo"].loss(batch, beta=beta)
    ours = _gradient(rows.loss.mean(), trainer.model)
    assert max(float(one.abs().max()) for one in theirs if one is not None) > 1e-2
    for one, other in zip(ours, theirs, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["grpo", "dr-grpo"])
def test_grpo_is_trls_in_both_normalisations(own_samples: Any, normalisation: str) -> None:
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer.utils import nanstd

    is_dr = normalisation == "dr-grpo"
    paper = {"loss_type": "dr_grpo" if is_dr else "grpo", "use_bias_correction_kl": False}
    trainer, inputs, batch = own_samples(GRPOTrainer, GRPOConfig, SCORES, **paper)
    trainer.beta = 0.3
    table = SCORES.reshape(2, 3)
    advantages = table - table.mean(1, keepdim=True)  # as in its `_generate_and_score_completions`
    advantages = (advantages if is_dr else advantages / (nanstd(table, dim=1, keepdim=True) + 1e-4)).reshape(-1)
    inputs |= {"advantages": advantages, "old_per_token_logps": batch.old_logp, "ref_per_token_logps": batch.ref_logp}
    theirs = trainer._compute_loss(trainer.model, inputs)
    rows = LOSSES["grpo"].loss(batch, beta=0.3, clip_range=0.2, normalisation=normalisation)
    ours = rows.loss.mean()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5, rel=1e-5)
    assert 0 < float(rows.metrics["policy/clipfrac_avg"].mean()) < 1  # old and new differ enough to clip
    for one, other in zip(_gradient(ours, trainer.model), _gradient(theirs, trainer.model), strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        group_advantages(SCORES, batch.group, by_deviation=not is_dr), advantages, rtol=1e-6, atol=1e-6
    )


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
        args=RewardConfig(**_common(tmp_path), center_rewards_coefficient=center),
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
