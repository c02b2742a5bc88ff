"""Losses on single answers, KTO, RLOO and GRPO, against TRL's trainers on the same tokens of a tiny Qwen2."""

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
from prefloop.losses.declaration import SampleBatch
from prefloop.losses.grpo import group_advantages
from prefloop.losses.registry import LOSSES
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.loading import save_model
from prefloop.policy.scoring import forward_logps
from prefloop.policy.tiny import END, tiny_policy
from prefloop.recipes.events import read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import Demonstration, write_snapshot
from tests.prefloop.engine.one_pass import learnt
from tests.prefloop.losses.with_trl import gradient_of, settings_of

pytestmark = [
    pytest.mark.slow,  # importing TRL takes seconds
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


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
        common = settings_of(tmp_path) | {"per_device_train_batch_size": len(UNPAIRED)}
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
        common = {
            key: value for key, value in settings_of(tmp_path_factory.mktemp("trl")).items() if key != "max_length"
        }
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
    theirs = gradient_of(trainer._compute_loss(trainer.model, inputs), trainer.model)
    rows = LOSSES["rloo"].loss(batch, beta=beta)
    ours = gradient_of(rows.loss.mean(), trainer.model)
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
    for one, other in zip(gradient_of(ours, trainer.model), gradient_of(theirs, trainer.model), strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        group_advantages(SCORES, batch.group, by_deviation=not is_dr), advantages, rtol=1e-6, atol=1e-6
    )
