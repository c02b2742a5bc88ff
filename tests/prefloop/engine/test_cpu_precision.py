"""A CPU that was measured to be faster in bf16: runs choose it by themselves, and keep their weights in fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prefloop import measured, precision
from prefloop.engine import precision as engine_precision
from prefloop.engine import train
from prefloop.engine.precision import choose, shape_of
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import Policy, load_policy
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import score_groups, step_kl
from prefloop.precision import speeds_name
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.runspec import EXIT_LEFT

MakeRun = Callable[..., Path]
FAST = {kind: {"float32": 50.0, "bfloat16": 150.0} for kind in precision.KINDS}
SLOW = {kind: {"float32": 50.0, "bfloat16": 5.0} for kind in precision.KINDS}


@pytest.fixture
def machine(tmp_path: Path, tiny_policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """machine(FAST): tiny models count as large, and this machine was measured so. Returns where that is kept."""
    folder = tmp_path / "var"
    folder.mkdir()
    monkeypatch.setenv(measured.VARIABLE, str(folder))
    for module in (precision, engine_precision):
        monkeypatch.setattr(module, "LEAST_PARAMETERS", 0)

    def remember(speeds: Any) -> Path:
        shape = shape_of(tiny_policy_dir)
        assert shape is not None
        measured.keep(folder, speeds_name(shape), speeds, threads=1)
        return folder

    return remember


def events_of(run_dir: Path) -> list[Any]:
    return drop_superseded(read_events(run_dir / "events.jsonl")[0])


def losses(run_dir: Path) -> list[float]:
    return [event.data["values"]["loss"] for event in events_of(run_dir) if event.type == "metric"]


def said(run_dir: Path) -> str:
    return "\n".join(event.data["message"] for event in events_of(run_dir) if event.type == "log")


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run_dir / "final" / "model.safetensors"))


@pytest.mark.slow
def test_a_run_computes_in_bf16_where_that_is_faster_and_its_result_is_fp32(make_run: MakeRun, machine: Any) -> None:
    settings = {"objective": {"epochs": 3, "lr": 2e-3}}
    full, half = make_run("full", precision="float32", **settings), make_run("half", **settings)
    machine(FAST)
    for run in (full, half):
        assert train.run(run).exit_code == 0
    assert "computes in bfloat16: measured in bf16 against fp32" in said(half)
    assert "computes in" not in said(full)
    exact, rounded = losses(full), losses(half)
    assert rounded != exact
    assert rounded[0] == pytest.approx(0.6931472, abs=1e-6)  # policy and reference round alike
    # as far from fp32 as bf16 is in test_precision.py
    assert max(abs(a - b) for a, b in zip(rounded, exact, strict=True)) < 0.12
    assert {value.dtype for value in weights(half).values()} == {torch.float32}
    theirs = weights(full)
    assert all(torch.allclose(value, theirs[name], atol=0.02) for name, value in weights(half).items())


@pytest.mark.slow
def test_steps_too_small_for_bf16_are_in_the_result(make_run: MakeRun, machine: Any, tiny_policy_dir: Path) -> None:
    machine(FAST)
    run = make_run(objective={"epochs": 1, "lr": 1e-7})
    assert train.run(run).exit_code == 0
    start = load_file(tiny_policy_dir / "model.safetensors")
    moved = {name: value - start[name] for name, value in weights(run).items()}
    # five steps of Adam at this rate: 5e-7 at most, where a weight of 0.4 has neighbours 0.002 apart in bf16
    assert 1e-7 < max(float(change.abs().max()) for change in moved.values()) < 1e-6
    assert sum(float((change != 0).float().mean()) for change in moved.values()) / len(moved) > 0.5


@pytest.mark.slow
def test_a_run_that_was_left_goes_on_in_its_precision_to_the_same_bits(make_run: MakeRun, machine: Any) -> None:
    machine(FAST)
    settings = {"objective": {"epochs": 2, "lr": 1e-4}}
    straight, left = make_run("straight", **settings), make_run("left", **settings)
    assert train.run(straight).exit_code == 0
    asked = iter([False] * 9 + [True])
    assert train.run(left, should_leave=lambda: next(asked)).exit_code == EXIT_LEFT
    machine(SLOW)  # measured anew meanwhile, to another end: the run stays what it is
    assert train.run(left).exit_code == 0
    assert losses(left) == losses(straight)
    ours, theirs = weights(left), weights(straight)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_is_merged_into_the_weights_in_fp32(
    make_run: MakeRun, machine: Any, tiny_policy_dir: Path, merge: bool
) -> None:
    machine(FAST)
    run = make_run(adapter=Adapter(kind="lora", rank=4, merge=merge), objective={"lr": 1e-6})
    assert train.run(run).exit_code == 0
    assert "computes in bfloat16" in said(run)
    start = load_policy(tiny_policy_dir).model.state_dict()
    result = load_policy(run / "final").model.state_dict()
    moved = {name: float((value - start[name]).abs().max()) for name, value in result.items()}
    # rounding to bf16 would move weights of about 0.4 by up to 1e-3
    assert 0 < max(moved.values()) < 1e-4
    assert sum(change == 0 for change in moved.values()) >= 3  # what the adapter leaves alone: embeddings, norms, head


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "ppo"])
def test_an_on_policy_run_in_bf16_learns_and_resumes_exactly(make_online: MakeRun, machine: Any, method: str) -> None:
    machine(FAST)
    straight, left = make_online(method, "straight"), make_online(method, "left")
    assert train.run(straight).exit_code == 0
    assert "computes in bfloat16" in said(straight)
    asked = iter([False, False, True])
    assert train.run(left, should_leave=lambda: next(asked)).exit_code == EXIT_LEFT
    assert train.run(left).exit_code == 0
    assert losses(left) == losses(straight)
    assert len(losses(straight)) > 2
    ours, theirs = weights(left), weights(straight)
    assert {value.dtype for value in ours.values()} == {torch.float32}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def in_both(directory: Path) -> tuple[Policy, Policy]:
    return load_policy(directory), load_policy(directory, dtype=torch.bfloat16)


@pytest.mark.slow
def test_scores_in_bf16_are_near_those_in_fp32(tiny_policy_dir: Path) -> None:
    full, half = in_both(tiny_policy_dir)
    items = [PackItem(tuple(range(1, 30)), (tuple(range(40, 60)), tuple(range(70, 75)))), PackItem((7, 8), ((9, 10),))]
    exact, rounded = score_groups(full, items), score_groups(half, items)
    for item, a, b in zip(items, exact, rounded, strict=True):
        for ids, one, other in zip(item.completions, a, b, strict=True):
            # its logits spread over tens of nats, and bf16 keeps 8 bits of each
            assert abs(one - other) / len(ids) < 0.15
            assert one != other
    # a policy beside itself: whatever it rounds, the KL is 0
    assert step_kl(half, half, items) == [[0.0, 0.0], [0.0]]
    assert all(0 < value / 20 < 0.05 for row in step_kl(half, full, items) for value in row)


def test_log_probs_of_a_sampler_in_bf16_are_those_of_scoring_but_for_rounding(tiny_policy_dir: Path) -> None:
    _, half = in_both(tiny_policy_dir)
    prompts = [SamplePrompt("a", (5, 6, 7, 8)), SamplePrompt("b", (11, 12))]
    groups = sample(half, prompts, n=4, max_tokens=12, seed=3)
    items = [
        PackItem(prompt.ids, tuple(one.ids for one in group.completions))
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    for group, scores in zip(groups, score_groups(half, items), strict=True):
        for one, score in zip(group.completions, scores, strict=True):
            assert abs(one.logp_sum - score) / len(one.ids) < 0.15


# --- the choice --------------------------------------------------------------------------------------------------


def refuse(*_: Any) -> Any:
    raise AssertionError("measured, where nothing was to be measured")


def test_small_models_settings_and_gpus_need_no_measurement(
    tiny_policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_precision, "measure", refuse)

    def chosen(setting: str, device: str) -> str:
        one = choose(tiny_policy_dir, setting=setting, device_type=device, threads=1, folder=tmp_path)
        assert not one.why
        assert not one.keeps_full
        return one.precision

    assert chosen("auto", "cpu") == "float32"
    assert chosen("auto", "cuda") == "bfloat16"
    assert [chosen(one, "cpu") for one in ("float32", "bfloat16", "float64")] == ["float32", "bfloat16", "float64"]


@pytest.mark.parametrize(
    ("training", "sampling", "wanted"),
    [
        (3.0, 2.0, "bfloat16"),
        (1.3, 1.2, "bfloat16"),
        (1.1, 1.1, "float32"),
        (4.0, 0.9, "float32"),
        (0.1, 0.5, "float32"),
    ],
)
def test_bf16_must_be_slower_in_nothing_and_faster_on_the_whole(training: float, sampling: float, wanted: str) -> None:
    speeds = {
        "training": {"float32": 20.0, "bfloat16": 20.0 * training},
        "sampling": {"float32": 5.0, "bfloat16": 5.0 * sampling},
    }
    assert precision.faster(speeds) == wanted


@pytest.mark.slow
def test_a_machine_is_measured_once_for_a_shape(tiny_policy_dir: Path, machine: Any, tmp_path: Path) -> None:
    machine_dir = tmp_path / "var"

    def chosen(threads: int = 1) -> engine_precision.Chosen:
        return choose(tiny_policy_dir, setting="auto", device_type="cpu", threads=threads, folder=machine_dir)

    first = chosen()
    kept = (machine_dir / measured.FILE).read_bytes()
    assert chosen() == first
    assert (machine_dir / measured.FILE).read_bytes() == kept
    for kind in precision.KINDS:
        assert f"{kind} " in first.why
    shape = shape_of(tiny_policy_dir)
    assert shape is not None
    assert precision.on_cpu("auto", shape, threads=1, folder=machine_dir) == first.precision
    assert measured.remembered(machine_dir, speeds_name(shape), threads=2) is None
    chosen(threads=2)
    assert measured.remembered(machine_dir, speeds_name(shape), threads=2) is not None
    machine(FAST)
    assert chosen().precision == precision.on_cpu("auto", shape, threads=1, folder=machine_dir) == "bfloat16"
    assert chosen().keeps_full
    assert precision.on_cpu("float32", shape, threads=1, folder=machine_dir) == "float32"
