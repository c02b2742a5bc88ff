"""Workers that are killed with -9 in the middle of a deletion: it goes on, and ends whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import signal

import pytest

from apps.accounts.models import User
from apps.core.models import AuditEvent
from apps.core.store import weights
from apps.jobs.models import Job, JobState
from apps.jobs.services import job_enqueue
from apps.labels.models import Vote
from apps.policies.models import Checkpoint
from apps.projects.access import projects_for
from apps.projects.models import Membership, Project
from apps.prompts.models import Prompt, PromptSet
from apps.removal.services import Asked, RemovalRefused, check_free, removal_start
from apps.samples.models import Comparison, Completion
from apps.training.models import Snapshot, SnapshotItem, TrainingRun
from apps.training.sets.directories import run_dir_here, run_dir_made, run_file, run_file_names, snapshot_here
from tests.canary import CANARY, left_in_files, left_in_tables
from tests.faults.test_two_hosts import be_the_web_host, host, kill
from tests.s3 import BUCKET, opened_s3

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def learned(store):
    """A project of two prompts, the first with the canary: a training set, a run and a checkpoint learned from both."""
    owner = User.objects.create(username="alice")
    project = Project.objects.create(slug="letters-test", name="Letters", random_share=0)
    Membership.objects.create(project=project, user=owner, role="owner")
    prompt_set = PromptSet.objects.create(project=project, name="main")
    rows, pairs = [], []
    for name, word in (("gone", CANARY), ("stays", "tulip")):
        prompt = Prompt.objects.create(project=project, prompt_set=prompt_set, external_id=name, text=f"{word}?")
        answers = [
            Completion.objects.create(project=project, prompt=prompt, index=i, text=f"{word} {i}") for i in range(2)
        ]
        pair = Comparison.objects.create(project=project, prompt=prompt, first=answers[0], second=answers[1])
        vote = Vote.objects.create(comparison=pair, user=owner, rater="alice", choice="first")
        rows.append({"id": f"comparison:{pair.pk}", "prompt": prompt.text, "label_ids": [f"vote:{vote.pk}"]})
        pairs.append(pair)
    path = "letters-test/snapshots/set.jsonl"
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (store / path).parent.mkdir(parents=True)
    (store / path).write_bytes(body)
    sha256 = hashlib.sha256(body).hexdigest()
    snapshot = Snapshot.objects.create(project=project, name="set", path=path, n_pairs=2, sha256=sha256)
    for pair, row in zip(pairs, rows, strict=True):
        values = {"p_first": 1.0, "source": "human", "label_ids": row["label_ids"]}
        SnapshotItem.objects.create(snapshot=snapshot, comparison=pair, **values)
    weights().push(path, sha256)
    made = Checkpoint.objects.create(
        project=project, name="made", role="policy", path="letters-test/checkpoints/made", fingerprint="1"
    )
    (store / made.path).mkdir(parents=True)
    (store / made.path / "config.json").write_text("{}")
    weights().push(made.path, "1")
    run = TrainingRun.objects.create(
        project=project, kind="dpo", snapshot=snapshot, start=made, output=made, run_dir="letters-test/runs/1"
    )
    (store / run.run_dir).mkdir(parents=True)
    for name in ("events.jsonl", "prompts.jsonl"):
        lines = [{"prompt": f"{CANARY}?"}, {"prompt": "tulip?"}]
        (store / run.run_dir / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_dir_made(run)
    return project, owner


def ended(job):
    job.refresh_from_db()
    return job.state == JobState.SUCCEEDED


def died(site, worker):
    site.wait_for(lambda: worker.poll() is not None, "the worker's death")
    assert worker.returncode == -signal.SIGKILL


PLACES = {
    "a training set is rewritten, and its row is not": ("prompt", "prefloop.store:Store.push:1"),
    "the files are rewritten, and the rows are there": ("prompt", "apps.removal.services:copies_prune:1"),
    "the rows are gone, and the job has not ended": ("prompt", "apps.removal.leftovers:leftovers_remove:1"),
    "the files of the project are gone, and its rows are there": ("project", "apps.removal.services:rows_delete:1"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_deletion_that_is_killed_goes_on_and_nothing_else_comes_between(site, settings, place):
    kind, call = PLACES[place]
    settings.STORE_DIR = store = site.directory / "store"
    project, owner = learned(store)
    job = removal_start(project=project, asked=Asked(kind, {"prompt": "gone"}.get(kind, project.slug)), by=owner)
    died(site, site.worker(FAULT_DIES_AT=call))
    assert not ended(job)
    assert projects_for(owner).exists() == (kind != "project"), "a project that goes is gone for everybody"
    with pytest.raises(RemovalRefused, match="already"):
        check_free(project, Asked("prompt", "stays"))
    waits = job_enqueue(kind="fault.items", queue="cpu", payload={"name": "a", "n": 1}, project=project)

    site.worker()
    site.wait_for(lambda: ended(job), "the end of the deletion")
    assert job.attempt == 2
    assert (left_in_tables(), left_in_files(store)) == ([], [])
    assert AuditEvent.objects.filter(verb=f"{kind}.delete").count() == 1
    if kind == "project":
        assert not (store / project.slug).exists()
        assert not Project.objects.exists()
        assert not Job.objects.filter(pk=waits.pk).exists()
        return
    site.wait_for(lambda: ended(waits), "the job that waited")
    assert waits.started_at is not None
    assert job.ended_at is not None
    assert waits.started_at > job.started_at
    snapshot = Snapshot.objects.get()
    assert snapshot.sha256 == hashlib.sha256((store / snapshot.path).read_bytes()).hexdigest()
    assert (snapshot.n_pairs, snapshot.n_erased, Prompt.objects.get().external_id) == (1, 1, "stays")
    assert Checkpoint.objects.get().learned_deleted_at is not None


@pytest.fixture
def s3():
    with opened_s3() as server:
        yield server


def bucket_has(s3, word):
    bodies = (s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in s3.held())
    return any(word.encode() in body for body in bodies)


def test_hosts_that_are_killed_leave_nothing_in_the_bucket_or_their_caches(site, s3, settings, monkeypatch, tmp_path):
    be_the_web_host(s3, settings, monkeypatch, tmp_path)
    settings.STORE_DIR = settings.VAR_DIR / "store"
    project, owner = learned(settings.STORE_DIR)
    # another host has them in its cache, and no worker that hears of the deletion
    web, settings.STORE_DIR = settings.STORE_DIR, site.directory / "idle" / "store"
    snapshot_here(Snapshot.objects.get())
    run_dir_here(TrainingRun.objects.get())
    settings.STORE_DIR = web
    assert len(left_in_files(site.directory / "idle")) == 3
    job = removal_start(project=project, asked=Asked("prompt", "gone"), by=owner)
    # the training set has its new name, and the old one is still there
    died(site, site.worker(**host(site, s3, "one"), FAULT_DIES_AT="prefloop.store:Store.drop:1"))
    # the files of the run are rewritten on this host, and the store has heard nothing of it
    died(site, site.worker(**host(site, s3, "two"), FAULT_DIES_AT="prefloop.store:Store.push:1"))
    assert left_in_files(site.directory / "two" / "store") == []

    last = site.worker(**host(site, s3, "two"))
    site.wait_for(lambda: ended(job), "the end of the deletion")
    assert job.attempt == 3
    kill(last)
    assert left_in_tables() == []
    assert left_in_files(site.directory / "two") == []
    snapshot, run = Snapshot.objects.get(), TrainingRun.objects.get()
    assert list(weights().names("letters-test/snapshots")) == [(snapshot.path, snapshot.sha256)]
    assert list(weights().names("letters-test/runs")) == [(run.run_dir, run.stored_version)]
    assert bucket_has(s3, CANARY), "contents that are not a day old"
    assert Job.objects.filter(kind="removal.sweep", state=JobState.QUEUED).count() == 1
    weights().sweep(older_than=dt.timedelta(0))
    assert not bucket_has(s3, CANARY)

    site.worker(**host(site, s3, "idle"))
    site.wait_for(lambda: not left_in_files(site.directory / "idle"), "the clearing of another host's cache")
    assert weights().clear() == 2, "of this machine's: the training set and the run"
    assert left_in_files(settings.VAR_DIR) == []
    assert b"tulip" in snapshot_here(snapshot).read_bytes()
    assert {b"tulip" in run_file(run, name) for name in run_file_names(run)} == {True}
