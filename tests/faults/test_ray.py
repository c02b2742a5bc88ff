"""A process on a Ray cluster of two nodes, of which one is killed: it is seen to be lost, and starts again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from apps.jobs import checks
from tests.faults.ray_nodes import ray_nodes
from workers.executors import Task, placed
from workers.executors.ray import Ray

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.xdist_group("executors"),  # one cluster at a time
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

SECRET = "sk-canary-of-a-judge"
PROGRAM = """
import os, signal, sys, time
told, said, pid = sys.stdin.readline(), "", os.getpid()
for _ in range(4):  # itself, the node's program, Ray's shell and supervisor
    said += open(f"/proc/{pid}/environ").read() + open(f"/proc/{pid}/cmdline").read()
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("told" if told else "not told", "seen" if told.strip() in said else "hidden", flush=True)
time.sleep(600)
"""


def until(look, seconds=120):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def test_a_process_on_a_node_that_is_killed_is_lost_and_starts_again_on_another(settings, tmp_path, monkeypatch):
    settings.VAR_DIR, settings.STORE_DIR = tmp_path, tmp_path / "store"
    monkeypatch.setenv("SECRET_KEY", SECRET)
    log = tmp_path / "train.log"

    def start():
        told = f"{SECRET}\n".encode()
        task = Task(name="run-7", arguments=[], program=("-c", PROGRAM), env={}, log=log, told=told, memory=10**8)
        return placed.place_and_start(Ray(), task)

    def begun(n):
        process.poll()
        return log.exists() and log.read_text() == "told hidden\n" * n

    monkeypatch.delenv("SECRET_KEY")  # the cluster is started by somebody else
    with ray_nodes() as nodes:
        settings.EXECUTOR, settings.RAY_ADDRESS, settings.RAY_DASHBOARD = "ray", nodes.address, nodes.address
        until(lambda: checks._executor().state == "ok")
        monkeypatch.setenv("SECRET_KEY", SECRET)
        process = start()
        assert process.place.page.startswith(f"{nodes.address}/#/jobs/run-7.")
        process.poll()
        assert process.waiting.startswith("a place in Ray: pending")
        monkeypatch.delenv("SECRET_KEY")
        nodes.add()
        until(lambda: begun(1))
        assert process.poll() is None
        assert process.waiting == ""

        nodes.lose_newest()
        assert process.wait(120) == -signal.SIGKILL
        assert process.lost.startswith("Ray job run-7.")

        process = start()
        nodes.add()
        until(lambda: begun(2))
        process.leave()
        assert process.wait(60) == 75
        assert process.lost == ""
        assert list((tmp_path / "places").iterdir()) == []
