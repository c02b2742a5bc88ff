"""LoRA: it changes nothing at first, learns, is stored alone, loads in peft, and is resumed exactly."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prefloop.checkpoints import check_checkpoint_dir, verify_manifest
from prefloop.engine import train
from prefloop.policy.adapters import add_adapter, count_parameters, merge, save_adapter
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import load_policy, load_reward_model
from prefloop.policy.scoring import score_groups
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.adapter import AUTO_PARAMETERS, Adapter
from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.runspec import EXIT_LEFT, read_failure

MakeRun = Callable[..., Path]

LORA = Adapter(kind="lora", rank=4, alpha=8)
IDS = torch.arange(3, 40)[None]


def metrics(run_dir: Path) -> list[dict[str, float]]:
    events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
    return [event.data["values"] for event in events if event.type == "metric"]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def test_a_new_adapter_changes_nothing_and_one_by_hand_adds_its_scaled_product() -> None:
    plain = tiny_policy(seed=3).model
    adapted = add_adapter(tiny_policy(seed=3).model, LORA, base="base")
    assert torch.equal(logits(adapted), logits(plain))
    layer = adapted.get_base_model().model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(0.5)
        # alpha / rank · B A, worked by hand on the plain model
        product = 0.5 * layer.lora_A["default"].weight.sum(0, keepdim=True)
        plain.model.layers[0].self_attn.q_proj.weight += 8 / 4 * product
    assert torch.allclose(logits(adapted), logits(plain), atol=1e-4)
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted), logits(tiny_policy(seed=3).model))
    assert torch.allclose(logits(merge(adapted)), logits(plain), atol=1e-4)


def test_an_adapter_trains_few_numbers_and_is_written_to_the_same_bytes(tmp_path: Path) -> None:
    model = tiny_policy(seed=3).model
    adapted = add_adapter(model, LORA, base="base")
    trains, total = count_parameters(adapted)
    # rank · (in + out) for q, o: 32·32, k, v: 32·16, and gate, up, down: 32·64, in two layers
    assert trains == 2 * 4 * (2 * 64 + 2 * 48 + 3 * 96)
    assert total == trains + sum(p.numel() for p in tiny_policy(seed=3).model.parameters())
    for name in ("one", "two"):
        save_adapter(adapted, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    targets = json.loads((tmp_path / "one" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("merge_in", [True, False])
def test_a_run_with_an_adapter_learns_and_its_result_loads_everywhere(
    make_run: MakeRun, tiny_policy_dir: Path, merge_in: bool
) -> None:
    settings = Adapter(kind="lora", rank=4, merge=merge_in)
    run_dir = make_run(adapter=settings, objective={"epochs": 6, "lr": 5e-3})
    assert train.run(run_dir).exit_code == 0
    told = metrics(run_dir)
    assert told[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    # nothing added yet: h is 0, but for what a processor's kernels do with another shape
    assert sum(m["loss"] for m in told[-5:]) < sum(m["loss"] for m in told[:5]) - 0.2

    final, adapter = run_dir / "final", run_dir / "final" / ("adapter" if merge_in else "")
    check_checkpoint_dir(final)
    assert verify_manifest(final)["extra"]["adapter"]["rank"] == 4
    ours = load_policy(final).model
    base = AutoModelForCausalLM.from_pretrained(tiny_policy_dir, local_files_only=True)
    in_peft = PeftModel.from_pretrained(base, str(adapter))
    assert torch.allclose(logits(ours), logits(in_peft), atol=1e-4)
    assert (logits(ours) - logits(load_policy(tiny_policy_dir).model)).abs().max() > 0.1
    alone = AutoPeftModelForCausalLM.from_pretrained(str(adapter), local_files_only=True)
    assert torch.allclose(logits(alone), logits(in_peft), atol=1e-5)
    anywhere = AutoModelForCausalLM.from_pretrained(final, local_files_only=True)
    assert torch.allclose(logits(anywhere), logits(ours), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dropout"), [("dpo", 0.0), ("dpo", 0.3), ("reward-model", 0.0)])
def test_a_run_with_an_adapter_that_was_left_goes_on_to_the_same_end(
    make_run: MakeRun, kind: str, dropout: float
) -> None:
    settings = {"adapter": Adapter(kind="lora", rank=4, dropout=dropout), "kind": kind, "objective": {"epochs": 2}}
    straight, left = make_run("straight", **settings), make_run("left", **settings)
    assert train.run(straight).exit_code == 0
    asked = iter([False] * 9 + [True])  # in the middle of the second epoch, whatever is asked before the steps
    assert train.run(left, should_leave=lambda: next(asked)).exit_code == EXIT_LEFT
    (checkpoint,) = left.glob("step-*")
    names = {path.name for path in checkpoint.iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names
    assert train.run(left).exit_code == 0
    assert metrics(left) == metrics(straight)
    ours, theirs = (load_file(run / "final" / "model.safetensors") for run in (left, straight))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    if kind == "reward-model":
        head = load_reward_model(straight / "final").model.score.weight
        assert float(head.detach().abs().max()) > 0  # it started at zero and trains in full


@pytest.mark.slow
def test_a_checkpoint_of_another_start_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    from prefloop.recipes.runspec import read_spec, write_spec
    from tests.prefloop.tiny import save_tiny_policy

    run_dir = make_run(adapter=LORA)
    asked = iter([False] * 7 + [True])
    train.run(run_dir, should_leave=lambda: next(asked))
    other = save_tiny_policy(tmp_path / "other", seed=9, chat=True)
    data = read_spec(run_dir)
    write_spec(run_dir, type(data)(**{**data.__dict__, "start": str(other)}))
    assert train.run(run_dir).exit_code == 2
    failure = read_failure(run_dir)
    assert failure is not None
    assert "is not the model" in failure.message


@pytest.mark.slow
def test_an_adapter_alone_refuses_a_base_that_was_changed(make_run: MakeRun, tmp_path: Path) -> None:
    from prefloop.policy.loading import UnloadableModel
    from prefloop.recipes.runspec import read_spec, write_spec
    from tests.prefloop.tiny import save_tiny_policy

    base = save_tiny_policy(tmp_path / "base", seed=0, chat=True)
    run_dir = make_run(adapter=Adapter(kind="lora", rank=2, merge=False))
    spec = read_spec(run_dir)
    write_spec(run_dir, type(spec)(**{**spec.__dict__, "start": str(base)}))
    assert train.run(run_dir).exit_code == 0
    before = score_groups(load_policy(run_dir / "final"), [PackItem((1, 2), ((3,),))])
    assert len(before[0]) == 1
    save_tiny_policy(base, seed=1, chat=True)
    with pytest.raises(UnloadableModel, match="not what it was"):
        load_policy(run_dir / "final")


@pytest.mark.slow
def test_an_adapter_alone_finds_its_base_where_all_of_it_was_moved(
    make_run: MakeRun, tiny_policy_dir: Path, tmp_path: Path
) -> None:
    from prefloop.recipes.runspec import read_spec, write_spec

    store = tmp_path / "store"
    shutil.copytree(tiny_policy_dir, store / "checkpoints" / "start")
    made = make_run(adapter=Adapter(kind="lora", rank=2, merge=False))
    (store / "runs").mkdir()
    run_dir = Path(shutil.move(made, store / "runs" / "1"))
    spec = read_spec(run_dir)
    write_spec(run_dir, type(spec)(**{**spec.__dict__, "start": "../../checkpoints/start", "keep_every": 2}))
    assert train.run(run_dir).exit_code == 0
    before = load_policy(run_dir / "final").fingerprint
    moved = Path(shutil.move(store, tmp_path / "elsewhere"))
    assert load_policy(moved / "runs" / "1" / "final").fingerprint == before
    assert [load_policy(kept).path for kept in (moved / "runs" / "1").glob("kept-*")]


def test_auto_takes_an_adapter_above_a_size_only() -> None:
    assert Adapter().resolved(None).kind == "none"
    assert Adapter().resolved(AUTO_PARAMETERS).kind == "none"
    assert Adapter().resolved(AUTO_PARAMETERS + 1).kind == "lora"
    assert Adapter(kind="none").resolved(10**12).kind == "none"
    assert Adapter(kind="lora").resolved(1).kind == "lora"
