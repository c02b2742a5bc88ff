"""Several processes make one run: real ones, joined over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from prefloop.engine import launch, train
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.sums import merged
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.runspec import (
    EXIT_LEFT,
    EXIT_OF_FAILURE,
    RunFailure,
    read_failure,
    read_spec,
    write_failure,
    write_spec,
)
from tests.prefloop.engine.conftest import some_answers, some_pairs

MakeRun = Callable[..., Path]
DEADLINE_SECONDS = 180


def start(run_dir: Path) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    command = [sys.executable, "-m", "prefloop.engine.train", str(run_dir)]
    return subprocess.Popen(command, env={**env, "OMP_NUM_THREADS": "1"})


def told(run_dir: Path) -> list[dict[str, float]]:
    events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
    return [event.data["values"] for event in events if event.type == "metric"]


def assert_same_curve(two: Path, one: Path) -> None:
    ours, theirs = told(two), told(one)
    assert len(ours) == len(theirs) > 0
    for mine, single in zip(ours, theirs, strict=True):
        assert mine.keys() == single.keys()
        for name in ("loss", "grad_norm", "rewards/margins", "rewards/accuracies", "logps/chosen", "kto/kl"):
            if name in single:
                # fp32 sums in another order, and AdamW makes more of a rounding with every step
                assert mine[name] == pytest.approx(single[name], abs=1e-4, rel=1e-4), name


def test_shares_are_a_partition_and_one_process_has_it_all() -> None:
    rows = list(range(7))
    shares = [Ranks(rank, 3).share(rows) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == rows
    assert max(map(len, shares)) - min(map(len, shares)) == 1
    assert ALONE.share(rows) == rows
    assert Ranks(2, 3).share([1]) == []
    assert ALONE.gather("x") == ["x"]
    assert merged([]).means() == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "kto", "lora"])
def test_two_processes_have_the_curve_of_one(make_run: MakeRun, kind: str) -> None:
    # 20 rows in batches of 4, shared 2 and 2
    settings = {"objective": {"epochs": 2}, "save_every": 3}
    if kind == "lora":
        settings |= {"adapter": Adapter(kind="lora", rank=4)}
    name = "dpo" if kind == "lora" else kind
    one, two = make_run("one", kind=name, **settings), make_run("two", kind=name, processes=2, **settings)
    assert train.run(one).exit_code == 0
    assert start(two).wait(DEADLINE_SECONDS) == 0
    assert_same_curve(two, one)
    ours, theirs = (load_file(run / "final" / "model.safetensors") for run in (two, one))
    for weight, value in theirs.items():
        # AdamW's first steps are ±lr each however small the gradient: a rounding of a sign is worth 2 lr
        assert (ours[weight] - value).abs().mean() < 2e-5, weight
    events = read_events(two / "events.jsonl")[0]
    assert [event.type for event in events].count("start") == 1  # the first process alone speaks


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "kto", "lora", "reward-model", "bf16", "lora bf16"])
def test_processes_that_share_the_weights_have_the_curve_of_one(make_run: MakeRun, kind: str) -> None:
    # 22 rows in batches of 3: one process has two of them, and in the last step one has none
    settings = {"objective": {"epochs": 1, "batch": 3}, "save_every": 3, "rows": some_pairs(22)}
    if "lora" in kind:
        settings |= {"adapter": Adapter(kind="lora", rank=4)}
    if "bf16" in kind:
        settings |= {"precision": "bfloat16"}
    if kind == "kto":
        settings |= {"rows": some_answers(22)}
    name = kind if kind in ("kto", "reward-model") else "dpo"
    two = make_run("two", kind=name, processes=2, shard="always", **settings)
    if "bf16" in kind:  # rounds by how rows are packed, so it is compared with two processes that hold all weights
        one = make_run("one", kind=name, processes=2, shard="never", **settings)
        assert start(one).wait(DEADLINE_SECONDS) == 0
    else:
        one = make_run("one", kind=name, **settings)
        assert train.run(one).exit_code == 0
    assert start(two).wait(DEADLINE_SECONDS) == 0
    assert json.loads((two / "passes.json").read_text("utf-8"))["sharded"]
    assert_same_curve(two, one)
    ours, theirs = (load_file(run / "final" / "model.safetensors") for run in (two, one))
    assert ours.keys() == theirs.keys()
    for weight, value in theirs.items():
        assert ours[weight].dtype == value.dtype
        assert (ours[weight] - value).abs().mean() < 2e-5, weight


@pytest.mark.slow
def test_two_processes_leave_together_and_one_can_go_on(make_run: MakeRun) -> None:
    straight, left = (
        make_run("straight", objective={"epochs": 6}),
        make_run("left", objective={"epochs": 6}, processes=2),
    )
    assert train.run(straight).exit_code == 0
    process = start(left)
    while process.poll() is None and len(told(left) if (left / "events.jsonl").exists() else []) < 2:
        pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECONDS) == EXIT_LEFT
    assert read_events(left / "events.jsonl")[0][-1].data["status"] == "left"
    assert (left / f"step-{len(told(left)):06d}" / "manifest.json").exists()
    assert train.run(left).exit_code == 0  # alone from there on
    mine, single = ([values["loss"] for values in told(run)] for run in (left, straight))
    assert mine == pytest.approx(single, abs=2e-4)  # 30 steps in all


@pytest.mark.slow
def test_a_run_that_lost_a_process_goes_on_with_twice_as_many(make_run: MakeRun) -> None:
    settings = {"objective": {"epochs": 3}, "save_every": 1}
    straight = make_run("straight", **settings)
    assert train.run(straight).exit_code == 0
    killed = make_run("killed", processes=2, shard="always", **settings)
    process = start(killed)
    while process.poll() is None and len(told(killed) if (killed / "events.jsonl").exists() else []) < 3:
        time.sleep(0.05)
    _, second = sorted(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()))
    os.kill(second, signal.SIGKILL)
    assert process.wait(DEADLINE_SECONDS) == EXIT_OF_FAILURE["out_of_memory"]
    write_spec(killed, replace(read_spec(killed), processes=4))
    assert start(killed).wait(DEADLINE_SECONDS) == 0
    assert len(told(killed)) == len(told(straight)) == 15
    assert_same_curve(killed, straight)
    resumed = [event.step or 0 for event in read_events(killed / "events.jsonl")[0] if event.type == "resume"]
    assert len(resumed) == 1
    assert resumed[0] >= 2


@pytest.mark.parametrize(
    ("codes", "said", "code"),
    [
        ([0, 0], None, 0),
        ([75, 75], None, EXIT_LEFT),
        ([3, 3], RunFailure("data", "a row is bad"), 3),
        ([1, 4], RunFailure("out_of_memory", "the second ran out"), 4),
        ([1, -9], None, 4),
        ([1, -9], RunFailure("internal", "the connection was reset"), 4),
        ([0, 1], None, 1),
    ],
)
def test_the_run_ends_as_its_processes_did(
    tmp_path: Path, codes: list[int], said: RunFailure | None, code: int
) -> None:
    if said is not None:
        write_failure(tmp_path, said)
    assert launch.exit_code(tmp_path, codes) == code
    failure = read_failure(tmp_path)
    assert (failure is None) == (code in (0, EXIT_LEFT))
    if codes == [1, -9]:
        assert failure is not None
        assert "process 1 was killed" in failure.message
