"""A process on a node of a cluster, and its worker: what they tell each other through the place that both have."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.jobs.registry import JobFailure
from prefloop import executors as declared
from workers import executors, node
from workers.executors import Task, placed

SECRET = "sk-canary-of-a-judge"
TALKER = f"""
import os, signal, socket, sys, time
told = sys.stdin.readline()
link = socket.socket(fileno=int(sys.argv[1]))
link.sendall(b"room for one?\\n")
with open(sys.argv[2], "w") as out:
    secret = {SECRET[::-1]!r}[::-1]
    print(link.recv(99).decode(), secret in told, secret in str(os.environ), os.environ.get("DATABASE_URL"),
          os.environ["OF_THE_RUN"], os.environ["CUDA_VISIBLE_DEVICES"], file=out)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"


class Here:
    """A cluster of one node that is this machine, and shows whoever asks what it was told."""

    name = "Here"

    def __init__(self, env=None):
        self.env, self.told, self.nodes = env, [], {}

    def submit(self, name, command, task, folder):
        self.told.append((name, command, task.cards, task.cores, task.memory))
        self.nodes[name] = subprocess.Popen(
            ["/bin/sh", "-c", placed.command_line(command)], env=self.env, start_new_session=True
        )
        return name

    def state(self, job, folder):
        over = job not in self.nodes or self.nodes[job].poll() is not None
        return placed.State(is_over=over, words="gone" if over else "running")

    def cancel(self, job, folder):
        self.lose(job)

    def page(self, job):
        return ""

    def lose(self, job):
        if job in self.nodes and self.nodes[job].poll() is None:
            os.killpg(self.nodes[job].pid, signal.SIGKILL)
            self.nodes[job].wait()


@pytest.fixture
def here(settings, tmp_path, monkeypatch):
    settings.VAR_DIR, settings.STORE_DIR = tmp_path, tmp_path / "store"
    settings.JOB_LEASE_SECONDS = 6
    monkeypatch.setattr(placed, "LATE_SECONDS", 2.0)
    cluster = Here({**os.environ, "DATABASE_URL": "postgres://u:p@h/d", "CUDA_VISIBLE_DEVICES": "5"})
    yield cluster
    for job in cluster.nodes:
        cluster.lose(job)


def start(cluster, tmp_path, code, *arguments, **more):
    """Start Python with this code in the place of the program that trains."""
    told = {"program": ("-c", code), "arguments": arguments, "env": {"OF_THE_RUN": "yes"}}
    task = Task(name="run-7", log=tmp_path / "train.log", **told, **more)
    return placed.place_and_start(cluster, task)


def until(look, seconds=60):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def text(path):
    return path.read_text() if path.exists() else ""


def test_every_executor_has_a_module_and_is_chosen_by_its_name(settings, monkeypatch):
    for name in declared.EXECUTORS:
        assert (Path(executors.__file__).parent / f"{name}.py").exists()
    settings.EXECUTOR = "local"
    instead = SimpleNamespace(start=lambda task: ("local", task))
    monkeypatch.setitem(sys.modules, "workers.executors.local", instead)
    assert executors.start("a task") == ("local", "a task")


def test_bytes_go_both_ways_through_two_files_in_order(tmp_path):
    (a, ours), (b, theirs) = socket.socketpair(), socket.socketpair()
    near = node.Pipe(ours, out=tmp_path / "up", into=tmp_path / "down")
    far = node.Pipe(theirs, out=tmp_path / "down", into=tmp_path / "up")
    for part in (b"room for", b" two?\n"):
        a.sendall(part)
        near.carry()
        far.carry()
    assert b.recv(99) == b"room for two?\n"
    b.sendall(b"held\n")
    far.carry()
    near.carry()
    assert a.recv(99) == b"held\n"
    a.setblocking(False)
    near.carry()
    with pytest.raises(BlockingIOError):
        a.recv(99)
    for one in (a, ours, b, theirs):
        one.close()


@pytest.mark.slow
def test_a_process_is_told_its_secrets_asked_to_leave_and_its_place_removed(here, tmp_path):
    ours, theirs = socket.socketpair()
    with ours:
        process = start(
            here, tmp_path, TALKER, str(theirs.fileno()), str(tmp_path / "said"),
            told=f'{{"api_key": "{SECRET}"}}\n'.encode(), link=theirs, cards=2, cores=3, memory=4,
        )  # fmt: skip
        (place,) = (tmp_path / "places").iterdir()
        assert (place.stat().st_mode & 0o777, (tmp_path / "places").stat().st_mode & 0o777) == (0o700, 0o700)
        assert all(file.stat().st_mode & 0o077 == 0 for file in place.iterdir())
        assert process.waiting
        assert here.told[0][2:] == (2, 3, 4)
        ours.settimeout(60)
        assert ours.recv(99) == b"room for one?\n"
        assert process.poll() is None
        assert process.waiting == ""
        ours.sendall(b"held")
        until(lambda: text(tmp_path / "said").endswith("\n"))
        # the node's own cards, the run's own variables, the secret by its input alone; nothing of it is left to read
        assert text(tmp_path / "said") == "held True False None yes 5\n"
        assert SECRET not in str(here.told) + "".join(file.read_text() for file in place.iterdir())
        process.leave()
        assert process.wait(30) == 75
        assert ours.recv(99) == b""
    assert (process.lost, list((tmp_path / "places").iterdir())) == ("", [])


@pytest.mark.slow
def test_a_node_that_is_lost_and_a_process_that_is_killed_are_told_apart(here, tmp_path):
    process = start(here, tmp_path, DEAF)
    until(lambda: text(tmp_path / "train.log"))
    here.lose(here.told[0][0])
    assert process.wait(60) == -signal.SIGKILL
    assert process.lost == f"Here job {here.told[0][0]} was lost: gone"

    process = start(here, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (process.wait(60), process.lost) == (-signal.SIGKILL, "")

    process = start(here, tmp_path, DEAF)
    until(lambda: text(tmp_path / "train.log").count("on") == 2)
    process.kill()
    assert (process.returncode, process.lost) == (-signal.SIGKILL, "")
    assert list((tmp_path / "places").iterdir()) == []


@pytest.mark.slow
def test_without_its_worker_a_process_ends_and_before_another_begins(here, tmp_path, monkeypatch):
    monkeypatch.setattr(placed.Placed, "_tell", lambda self: None)  # a worker that was killed gives no sign
    start(here, tmp_path, DEAF)
    until(lambda: text(tmp_path / "train.log"))
    (earlier,) = (tmp_path / "places").iterdir()
    # of itself: it is asked to leave after two seconds of silence, and ended after two more
    assert until(lambda: text(earlier / "ended")) == "-9"

    start(here, tmp_path, DEAF)
    until(lambda: text(tmp_path / "train.log").count("on") == 2)
    began = time.monotonic()
    third = start(here, tmp_path, DEAF)
    assert time.monotonic() - began < 30
    until(lambda: [here.state(job, None).is_over for job, *_ in here.told] == [True, True, False])
    assert len(list((tmp_path / "places").iterdir())) == 1
    third.kill()


@pytest.mark.slow
def test_a_node_without_the_common_disk_says_so_and_one_started_twice_does_nothing(tmp_path):
    command = [sys.executable, "-m", "workers.node"]
    said = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
    assert (said.returncode, "need a common disk" in said.stdout) == (node.NOT_HERE, True)
    node.write(tmp_path / node.TASK, "{}")  # and no line that it could be told
    assert subprocess.run([*command, str(tmp_path)]).returncode == 137


@pytest.mark.slow
def test_a_cluster_that_refuses_is_asked_again_later(here, tmp_path, monkeypatch):
    def refuse(*_):
        raise placed.ClusterError("no such partition")

    monkeypatch.setattr(here, "submit", refuse)
    with pytest.raises(JobFailure, match="Here: no such partition") as failed:
        start(here, tmp_path, DEAF)
    assert failed.value.retry
    assert list((tmp_path / "places").iterdir()) == []


@pytest.mark.slow
def test_before_its_time_is_up_a_process_is_let_leave(tmp_path):
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); print('on', flush=True); time.sleep(99)"
    )
    log = tmp_path / "log"
    program = node.Program(["/bin/sh", "-c", f"exec {sys.executable} -c {shlex.quote(code)} > {log}"])
    ended = []
    thread = threading.Thread(target=lambda: ended.append(program()))
    thread.start()
    until(lambda: text(log))
    assert program.checkpoint() is None
    thread.join(10)
    assert ended == [75]


ANCESTORS = """
import os, sys
said, pid = "", os.getppid()
for _ in range(3):
    said += open(f"/proc/{pid}/environ").read()
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
open(sys.argv[1], "w").write(said)
"""


@pytest.mark.slow
def test_submitit_s_jobs_get_none_of_the_worker_s_secrets(here, settings, tmp_path, monkeypatch):
    from workers.executors.slurm import Slurm

    settings.SLURM_CLUSTER, settings.SLURM_OPTIONS = "local", {"timeout_min": 5}
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("DATABASE_URL", f"postgres://u:{SECRET}@h/d")
    process = start(Slurm(), tmp_path, ANCESTORS, str(tmp_path / "said"))
    assert process.place is not None
    assert process.place.words.startswith("Slurm job ")
    assert (process.wait(60), process.lost) == (0, "")
    assert "SUBMITIT_EXECUTOR=local" in text(tmp_path / "said")
    assert SECRET not in text(tmp_path / "said")
    assert os.environ["SECRET_KEY"] == SECRET
