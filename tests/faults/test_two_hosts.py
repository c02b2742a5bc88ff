"""Machines that share nothing but the database, the broker and an S3 store, killed with -9 during transfers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from apps.jobs.models import Job, JobState
from apps.policies.takeaway import checkpoint_files
from apps.training.lineage.evidence import training_log
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, LoopState, Metric, TrainingRun
from apps.training.sets.directories import run_file_names
from apps.training.sets.snapshots import snapshot_export
from prefloop.checkpoints import verify_manifest
from prefloop.worlds.letters.world import WORLD_JUDGE
from tests.faults.outcome import outcome
from tests.faults.processes import Workers
from tests.s3 import BUCKET, opened_s3

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

SETTINGS = {"objective.batch": "8", "objective.epochs": "150"}  # of two steps each; a checkpoint every 25 steps
N_STEPS = 300
KEY = "the same on every machine, and long enough for Django"


def start(project):
    return loop_start(project=project, recipe="dpo", settings=SETTINGS, seed=1)


def undisturbed(open_site, make_letters_project, start=start):
    with open_site("undisturbed") as site:
        loop = start(make_letters_project(store=site.directory / "store", n_labelled=16))
        Workers(site)
        return end_of(site, loop)


def end_of(site, loop):
    site.wait_for(has_ended, "the end of the loop", seconds=240)
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    unfinished = Job.objects.exclude(state=JobState.SUCCEEDED)  # the one that ended the loop may not have said so yet
    site.wait_for(lambda: not unfinished.exists(), "the end of every job", seconds=30)
    return outcome(loop)


def has_ended():
    return Loop.objects.get().state not in (LoopState.QUEUED, LoopState.RUNNING)


class Gate:
    """Holds the first request that is like this, until it is opened."""

    def __init__(self, s3, method, n_before=0):
        self.met, self._open = threading.Event(), threading.Event()
        self._method, self._left = method, n_before
        s3.ask = self

    def __call__(self, method, path):
        if method == self._method and "/chunks/" in path:
            self._left -= 1
            if self._left < 0:
                self.met.set()
                self._open.wait(60)
        return ""

    def open(self):
        self._open.set()


def trouble(seed):
    """A store that is unavailable, or gives half of an object, for a third of the requests."""
    rolled, lock = random.Random(seed), threading.Lock()

    def ask(method, path):
        with lock:
            return rolled.choice(["unavailable", "half", "", "", "", ""])

    return ask


@pytest.fixture
def s3():
    with opened_s3() as server:
        yield server


def be_the_web_host(s3, settings, monkeypatch, tmp_path):
    """This process has a directory of its own, and the store."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    settings.STORE_URL, settings.VAR_DIR = s3.url, tmp_path / "web"


def stored_steps():
    """The checkpoints of the first run that the store has."""
    run = TrainingRun.objects.order_by("id").first()
    return {name.partition("/")[0] for name in run_file_names(run) if name.startswith("step-")}


def host(site, s3, name):
    """What makes a worker process one of another machine."""
    return {"PREFLOOP_VAR": str(site.directory / name), "PREFLOOP_STORE": s3.url, "SECRET_KEY": KEY, **s3.environment}


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_loop_whose_hosts_are_killed_in_uploads_and_downloads_ends_as_an_undisturbed_one(
    open_site, make_letters_project, s3, settings, monkeypatch, tmp_path
):
    wanted = undisturbed(open_site, make_letters_project)
    be_the_web_host(s3, settings, monkeypatch, tmp_path)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with open_site("disturbed") as site:
        loop = start(make_letters_project(store=tmp_path / "web" / "store", n_labelled=16))
        site.worker(queue="cpu", **host(site, s3, "cpu"))
        first = site.worker(queue="gpu", **host(site, s3, "first"))
        steps = Metric.objects.filter(run__kind="dpo")
        site.wait_for(steps.exists, "the first steps", seconds=120)

        site.wait_for(stored_steps, "a checkpoint in the store")
        gate = Gate(s3, "PUT")
        assert gate.met.wait(60), "no upload to be killed in"
        kill(first)
        gate.open()
        assert Loop.objects.get().state == LoopState.RUNNING
        reached = steps.count()
        assert 25 <= reached < N_STEPS, "killed too late to be in the middle of training"
        stored = {int(name.removeprefix("step-")) for name in stored_steps()}
        run = TrainingRun.objects.get()

        gate = Gate(s3, "GET", n_before=2)
        second = site.worker(queue="gpu", **host(site, s3, "second"))
        assert gate.met.wait(60), "no download to be killed in"
        kill(second)
        gate.open()
        half = site.directory / "second" / "store" / run.run_dir
        assert not half.exists() or (half / "spec.json").exists()

        s3.ask = trouble(seed)
        site.worker(queue="gpu", **host(site, s3, "third"))
        made = end_of(site, loop)
        s3.ask = lambda method, path: ""

        # the web host has trained nothing, and shows and gives away everything
        run.refresh_from_db()
        assert not (tmp_path / "web" / "store" / run.run_dir / "final").exists()
        assert run.output is not None
        assert run.snapshot is not None
        files = checkpoint_files(run.output, card="A card.\n")
        assert sum(len(piece) for file in files for piece in file.pieces()) > 100_000
        assert training_log(loop)[0] == run
        assert snapshot_export(run.snapshot)

        told = (site.directory / "third" / "store" / run.run_dir / "events.jsonl").read_text().splitlines()
        resumed_from = [json.loads(line)["step"] for line in told if '"resume"' in line]
        for manifest in site.directory.glob("*/store/**/manifest.json"):
            verify_manifest(manifest.parent)

    assert resumed_from[0] in stored, "it went on from what the first host had stored"
    assert [step for kind, step, _ in made["metrics"] if kind == "dpo"] == list(range(1, N_STEPS + 1))
    assert made["metrics"] == wanted["metrics"]  # every loss, to the last bit
    for key, value in wanted.items():
        assert made[key] == value, key
    everything_is_whole(s3)


def everything_is_whole(s3):
    """Every name in the store has all of its contents, and each content is what its name says."""
    chunks = {}
    for key in s3.held("chunks"):
        body = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == key.rpartition("/")[2]
        chunks[key.rpartition("/")[2]] = len(body)
    for key in s3.held("names"):
        for entry in json.loads(s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())["files"]:
            assert sum(chunks[sha256] for sha256, _ in entry["chunks"]) == entry["size"], key


ONLINE_SETTINGS = {
    "prompts.n": "60",
    "objective.batch": "2",  # 30 steps a round; a checkpoint every 12
    "draws.max_tokens": "24",
    "label.judge": WORLD_JUDGE,
}


def test_an_on_policy_loop_goes_from_host_to_host_with_all_of_its_state(
    open_site, make_letters_project, s3, settings, monkeypatch, tmp_path
):
    def begin(project):
        return loop_start(project=project, recipe="oaif-dpo", settings=ONLINE_SETTINGS, n_rounds=2, seed=3)

    wanted = undisturbed(open_site, make_letters_project, begin)
    be_the_web_host(s3, settings, monkeypatch, tmp_path)
    with open_site("disturbed") as site:
        loop = begin(make_letters_project(store=tmp_path / "web" / "store", n_labelled=16))
        site.worker(queue="cpu", **host(site, s3, "cpu"))
        first = site.worker(queue="gpu", **host(site, s3, "first"))
        site.wait_for(lambda: TrainingRun.objects.exists() and stored_steps(), "a checkpoint in the store", seconds=180)
        kill(first)
        assert Metric.objects.filter(run__kind="online").count() < 30, "killed too late to be in the middle of training"

        second = site.worker(queue="gpu", **host(site, s3, "second"))
        later = Metric.objects.filter(run__round__index=2)
        site.wait_for(later.exists, "the second round's first step", seconds=180)
        kill(second)
        assert later.count() < 30, "killed too late to be in the middle of training"

        site.worker(queue="gpu", **host(site, s3, "third"))
        made = end_of(site, loop)
        assert {path.name for path in (site.directory / "third" / "store" / "letters-test" / "runs").iterdir()} == {
            str(run.pk) for run in TrainingRun.objects.all()
        }, "the third went on from the first round's state"
    for key, value in wanted.items():
        assert made[key] == value, key
    everything_is_whole(s3)
