"""Real processes killed with -9 at random moments, in the middle of steps and of saves, end as if undisturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefloop.engine import train
from prefloop.recipes.events import read_events
from prefloop.recipes.runspec import EXIT_LEFT, kept_dirs

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]

DEADLINE_SECONDS = 120


def kept(run_dir: Path) -> dict[int, bytes]:
    """The weights of the policies that it kept on the way, by step."""
    return {step: (path / "model.safetensors").read_bytes() for step, path in kept_dirs(run_dir).items()}


def wait_for(what: Callable[[], bool], alive: Callable[[], bool]) -> None:
    """Poll as fast as possible: the moments that are waited for are milliseconds long."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what():
        if not alive():
            return
        assert time.monotonic() < deadline, "it never came to that"


def last_step(run_dir: Path) -> int:
    return max(
        (event.step or 0 for event in read_events(run_dir / "events.jsonl")[0] if event.type == "metric"), default=0
    )


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_run_that_is_killed_again_and_again_equals_an_undisturbed_one(
    make_run: MakeRun, story: Story, kind: str
) -> None:
    settings = {"kind": kind, "objective": {"epochs": 8}, "save_every": 2, "keep_every": 3}
    straight, killed = make_run("straight", **settings), make_run("killed", **settings)
    train.run(straight)
    # a server that has imported everything once and forks clean children
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prefloop.engine.train"])
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print("seed", seed)
    kills = ["fill", "step", "save", "save", "step", "save", "publish"]
    for moment in kills:
        before = last_step(killed)
        process = context.Process(target=train.main, args=([str(killed)],))
        process.start()
        if moment == "fill":
            wait_for(lambda: (killed / "reference").exists(), process.is_alive)
        elif moment == "save":
            wait_for(lambda: any(".tmp-" in path.name for path in killed.iterdir()), process.is_alive)
        elif moment == "publish":
            wait_for(lambda: any("final.tmp-" in path.name for path in killed.iterdir()), process.is_alive)
        else:
            target = before + rng.randint(1, 4)
            wait_for(lambda target=target: last_step(killed) >= target, process.is_alive)
        end = time.perf_counter() + rng.random() * 0.01
        while time.perf_counter() < end:  # anywhere within the next hundredth of a second
            pass
        process.kill()
        process.join(DEADLINE_SECONDS)
        assert process.exitcode in (-signal.SIGKILL, 0)
    process = context.Process(target=train.main, args=([str(killed)],))
    process.start()
    process.join(DEADLINE_SECONDS)
    assert process.exitcode == 0
    assert story(killed) == story(straight)
    assert kept(killed) == kept(straight)
    assert list(kept(straight)) == list(range(3, last_step(straight), 3))
    resumes = [event for event in read_events(killed / "events.jsonl")[0] if event.type == "resume"]
    assert len(resumes) >= 3, "the kills came too late to disturb anything"


@pytest.mark.faults
def test_a_run_whose_parent_was_killed_writes_a_checkpoint_and_leaves(make_run: MakeRun) -> None:
    run_dir = make_run(objective={"epochs": 400})
    command = [sys.executable, "-m", "prefloop.engine.train", "--leave-with-parent", str(run_dir)]
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({command!r})"])
    wait_for(lambda: last_step(run_dir) >= 2, lambda: parent.poll() is None)
    parent.kill()
    parent.wait(DEADLINE_SECONDS)
    wait_for(lambda: any(event.type == "end" for event in read_events(run_dir / "events.jsonl")[0]), lambda: True)
    end = read_events(run_dir / "events.jsonl")[0][-1]
    assert (end.data["status"], end.step) == ("left", last_step(run_dir))
    assert (run_dir / f"step-{end.step:06d}" / "manifest.json").exists()


@pytest.mark.faults
def test_sigterm_makes_the_command_write_a_checkpoint_and_leave_with_75(make_run: MakeRun, story: Story) -> None:
    straight, told = (make_run(name, objective={"epochs": 20}) for name in ("straight", "told"))
    train.run(straight)
    command = [sys.executable, "-m", "prefloop.engine.train", str(told)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_for(lambda: last_step(told) >= 2, lambda: process.poll() is None)
    process.terminate()
    assert process.wait(DEADLINE_SECONDS) == EXIT_LEFT
    at = last_step(told)
    assert (told / f"step-{at:06d}" / "manifest.json").exists()
    assert read_events(told / "events.jsonl")[0][-1].data["status"] == "left"
    assert train.run(told).exit_code == 0
    assert story(told) == story(straight)
