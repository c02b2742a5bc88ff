"""A training process: a fork of one that has imported torch, with the environment and the files that it was given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.executors import Task, local

pytestmark = pytest.mark.slow  # each imports torch anew

CANARY = "a-canary"


@pytest.fixture
def env():
    return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": os.environ.get("HOME", "/")}


def start(tmp_path, env, *arguments, told=None):
    return local.start(Task(name="run-1", arguments=arguments, env=env, log=tmp_path / "train.log", told=told))


def running(word):
    """The ids of processes whose command line has the word, which is what a person looks for with `ps`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word in (entry / "cmdline").read_text() and "Z" not in (entry / "stat").read_text().rpartition(")")[2]:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(look, seconds=180):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_its_output_is_in_the_log_and_its_status_is_the_command_s(tmp_path, env):
    process = start(tmp_path, env, str(tmp_path / "no-run"))
    assert process.wait(180) == process.poll() == process.returncode == 2
    assert "user_config: spec.json is missing" in (tmp_path / "train.log").read_text()
    process.leave()  # one that has ended hears nothing
    process = start(tmp_path, env, "--no-such-option")
    assert process.wait(180) == 2
    assert "arguments are required: run_dir" in (tmp_path / "train.log").read_text()


def test_where_a_driver_can_not_be_forked_it_is_a_fresh_interpreter(tmp_path, env, monkeypatch):
    monkeypatch.setattr(local.model_cache, "device", lambda: "cuda")
    process = start(
        tmp_path, env, str(tmp_path / "no-run"), "--connection-from-stdin", told=b'{"base_url": "http://127.0.0.1:9"}\n'
    )
    assert isinstance(process, local._Fresh)
    assert process.wait(180) == 2
    assert "user_config: spec.json is missing" in (tmp_path / "train.log").read_text()
    process = start(tmp_path, env, str(tmp_path / "no-run"))
    process.kill()
    assert process.returncode == -signal.SIGKILL


def test_it_has_the_environment_of_its_run_and_nothing_of_ours(tmp_path, env, monkeypatch):
    """Who forks it was started with that environment too: whoever reads /proc finds no secret there."""
    monkeypatch.setenv("SECRET_KEY", CANARY)
    # it waits for the line that it was promised, so there is time to look
    source, ours = os.pipe()
    with (tmp_path / "train.log").open("ab") as log:
        nursery = local._nursery(env | {"WORD": "one"})
        process = local._Forked(
            nursery,
            [str(tmp_path), "--connection-from-stdin"],
            env=env | {"WORD": "one", "PREFLOOP_VAR": str(tmp_path)},
            files=[source, log.fileno()],
        )
    os.close(source)
    (pid,) = wait_for(lambda: running(str(tmp_path)))
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent == nursery.process.pid
    said = Path(f"/proc/{parent}/environ").read_text()
    assert "WORD=one" in said
    assert CANARY not in said + Path(f"/proc/{pid}/environ").read_text()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.kill()
    assert process.returncode == -signal.SIGKILL
    os.close(ours)
    assert local._nursery(env | {"WORD": "one", "PREFLOOP_VAR": "/elsewhere"}) is nursery
    assert local._nursery(env | {"WORD": "two"}) is not nursery
    assert nursery.process is None  # it has no child any more, and would keep its memory


def test_a_nursery_that_is_killed_takes_the_process_along_and_the_next_run_starts(tmp_path, env):
    nursery = local._nursery(env)
    source, ours = os.pipe()
    with (tmp_path / "train.log").open("ab") as log:
        process = local._Forked(
            nursery, [str(tmp_path), "--connection-from-stdin"], env=env, files=[source, log.fileno()]
        )
    os.close(source)
    wait_for(lambda: running(str(tmp_path)))
    nursery.process.kill()
    assert process.wait(180) == -signal.SIGKILL
    wait_for(lambda: not running(str(tmp_path)))
    os.close(ours)
    assert start(tmp_path, env, str(tmp_path / "no-run")).wait(180) == 2


def test_it_ends_with_the_worker_that_is_killed(tmp_path, env):
    code = f"""
import os, sys, time
from pathlib import Path
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from workers.executors import Task, local
nursery = local._nursery({env!r})
source, ours = os.pipe()
log = open({str(tmp_path / "train.log")!r}, "ab")
process = local._Forked(
    nursery, [{str(tmp_path)!r}, "--connection-from-stdin"], env={env!r}, files=[source, log.fileno()]
)
print("ready", flush=True)
time.sleep(600)
"""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as worker:
        try:
            worker.stdin.write(code.encode())
            worker.stdin.close()
            assert worker.stdout.readline() == b"ready\n"
            wait_for(lambda: running(f"prefloop.engine.train {tmp_path}"))
        finally:
            worker.kill()
    wait_for(lambda: not running(f"prefloop.engine.train {tmp_path}"), seconds=15)
