"""On-policy processes killed with -9 at random moments, or told to leave, end as if undisturbed."""

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

MakeOnline = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]
DEADLINE_SECONDS = 120

pytestmark = pytest.mark.faults


def last_step(run_dir: Path) -> int:
    log = run_dir / "events.jsonl"
    return max((event.step or 0 for event in read_events(log)[0] if event.type == "metric"), default=0)


def kept(run_dir: Path) -> dict[int, bytes]:
    """The weights of the policies that it kept on the way, by step."""
    return {step: (path / "model.safetensors").read_bytes() for step, path in kept_dirs(run_dir).items()}


def wait_for(what: Callable[[], bool], alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what() and alive():
        assert time.monotonic() < deadline, "it never came to that"


@pytest.mark.parametrize("method", ["ppo", "j-bond"])
def test_a_run_killed_at_random_steps_equals_an_undisturbed_one(
    make_online: MakeOnline, story: Story, method: str
) -> None:
    settings = {"objective": {"epochs": 6}, "save_every": 2, "keep_every": 3}
    straight, killed = make_online(method, "straight", **settings), make_online(method, "killed", **settings)
    train.run(straight)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prefloop.engine.train"])
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print("seed", seed)
    for moment in ("step", "save", "step", "save"):
        before = last_step(killed)
        process = context.Process(target=train.main, args=([str(killed)],))
        process.start()
        if moment == "save":
            wait_for(lambda: any(".tmp-" in path.name for path in killed.iterdir()), process.is_alive)
        else:
            target = before + rng.randint(1, 3)
            wait_for(lambda target=target: last_step(killed) >= target, process.is_alive)
        end = time.perf_counter() + rng.random() * 0.02
        while time.perf_counter() < end:  # anywhere within the next hundredths of a second
            pass
        process.kill()
        process.join(DEADLINE_SECONDS)
        assert process.exitcode in (-signal.SIGKILL, 0)
    assert train.run(killed).exit_code == 0
    assert story(killed) == story(straight)
    assert kept(killed) == kept(straight)
    assert list(kept(straight)) == list(range(3, last_step(straight), 3))
    resumes = [event for event in read_events(killed / "events.jsonl")[0] if event.type == "resume"]
    assert len(resumes) >= 2, "the kills came too late to disturb anything"


@pytest.mark.parametrize("method", ["ppo", "j-bond"])
def test_sigterm_leaves_a_checkpoint_from_which_it_goes_on(make_online: MakeOnline, story: Story, method: str) -> None:
    straight, told = (make_online(method, name, objective={"epochs": 10}) for name in ("straight", "told"))
    train.run(straight)
    process = subprocess.Popen(
        [sys.executable, "-m", "prefloop.engine.train", str(told)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    wait_for(lambda: last_step(told) >= 2, lambda: process.poll() is None)
    process.terminate()
    assert process.wait(DEADLINE_SECONDS) == EXIT_LEFT
    assert (told / f"step-{last_step(told):06d}" / "manifest.json").exists()
    assert train.run(told).exit_code == 0
    assert story(told) == story(straight)
