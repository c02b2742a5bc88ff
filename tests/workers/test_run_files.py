"""A run's directory goes from machine to machine through the store, and only who holds the job says what is newest."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.core.store import weights
from apps.jobs.errors import JobFenced
from apps.policies.store import store_path
from apps.training.models import TrainingRun
from apps.training.sets.directories import run_dir_made, run_dir_push, run_file, run_file_names
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.store import StoreUnavailable
from tests.s3 import opened_s3
from workers.run_files import RunFiles

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


class Context:
    """A job that is held, or was lost."""

    def __init__(self):
        self.held = True

    @contextmanager
    def fenced(self):
        if not self.held:
            raise JobFenced
        yield


@pytest.fixture
def s3(monkeypatch):
    with opened_s3() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def on(s3, settings, tmp_path):
    """`on("name")`: from now on this process is on the machine of that name."""
    settings.STORE_URL = s3.url

    def go(name):
        settings.VAR_DIR, settings.STORE_DIR = tmp_path / name, tmp_path / name / "store"

    go("first")
    return go


@pytest.fixture
def run(on, project):
    made = TrainingRun.objects.create(project=project, kind="dpo", run_dir=f"{project.slug}/runs/1")
    write_spec(store_path(made.run_dir), RunSpec(run_id="1", kind="dpo", start="start", reference="start"))
    run_dir_made(made)
    return made


def say(run, *lines):
    with (store_path(run.run_dir) / "events.jsonl").open("ab") as log:
        log.write("".join(f"{line}\n" for line in lines).encode())


def again(run):
    return TrainingRun.objects.get(pk=run.pk)


def test_a_checkpoint_that_the_next_replaces_while_it_is_listed_is_not_stored_in_part(run, on, monkeypatch):
    folder = store_path(run.run_dir)

    def saved(step):
        (folder / step / "training").mkdir(parents=True)
        for file in ("model.safetensors", "training/state.json"):
            (folder / step / file).write_text(step)

    def replaced(source, link, _link=os.link):
        _link(source, link)
        if Path(source) == folder / "step-000001" / "model.safetensors":
            saved("step-000002")
            (folder / "step-000001").rename(folder / "step-000001.tmp-1")

    saved("step-000001")
    with monkeypatch.context() as patched:
        patched.setattr("os.link", replaced)
        run.stored_version = run_dir_push(run)
    on("second")
    steps = {name for name in run_file_names(run) if name.startswith("step-")}
    assert steps == {"step-000002/model.safetensors", "step-000002/training/state.json"}


def test_another_machine_goes_on_from_what_was_stored(run, on):
    first = RunFiles(Context(), run)
    first.bring()
    say(run, "one", "two")
    (store_path(run.run_dir) / "step-000001").mkdir()
    (store_path(run.run_dir) / "step-000001" / "state.json").write_text("{}")
    (store_path(run.run_dir) / "run.lock").touch()
    first.end()
    say(run, "told and never stored")
    TrainingRun.objects.filter(pk=run.pk).update(events_offset=30)

    on("second")
    taken = again(run)
    directory = RunFiles(Context(), taken).bring()
    assert (directory / "events.jsonl").read_text() == "one\ntwo\n"
    assert {path.name for path in directory.iterdir()} == {"events.jsonl", "spec.json", "step-000001"}
    assert again(run).events_offset == len("one\ntwo\n")
    assert again(run).stored_version == taken.stored_version != run.stored_version
    assert weights().changing() == [run.run_dir]

    on("first")  # what this machine knows is not the newest any more
    assert run_file(again(run), "events.jsonl", last=4) == b"two\n"
    assert RunFiles(Context(), again(run)).bring().joinpath("events.jsonl").read_text() == "one\ntwo\n"


def test_the_machine_that_stored_last_keeps_what_it_has_written_since(run, on):
    RunFiles(Context(), run).bring()
    say(run, "one")
    RunFiles(Context(), again(run)).end()
    say(run, "two")
    before = again(run).stored_version
    assert RunFiles(Context(), again(run)).bring().joinpath("events.jsonl").read_text() == "one\ntwo\n"
    assert again(run).stored_version == before


def test_a_worker_that_lost_the_job_names_nothing(run, on):
    context = Context()
    files = RunFiles(context, run)
    files.bring()
    named = again(run).stored_version
    say(run, "of a worker that was taken for dead")
    context.held = False
    with pytest.raises(JobFenced):
        files.end()
    assert again(run).stored_version == named
    on("second")
    assert not RunFiles(Context(), again(run)).bring().joinpath("events.jsonl").exists()


def test_a_checkpoint_is_stored_while_the_run_goes_on(run, on):
    files = RunFiles(Context(), run)
    files.bring()
    before = run.stored_version
    with files.stored():
        say(run, "one")
        files.heard([Event("checkpoint", 0.0, {"step": 1})])
        for _ in range(200):
            with files._due:
                if files._stored:
                    break
                files._due.wait(0.05)
        files.name_stored()
    assert again(run).stored_version != before
    on("second")
    assert run_file(again(run), "events.jsonl") == b"one\n"


def test_a_store_that_fails_when_a_run_leaves_is_said(run, on, s3):
    files = RunFiles(Context(), run)
    files.bring()
    s3.ask = lambda method, path: "unavailable"
    weights().remote._waits = ()
    told = []
    files.end(told=told.append)
    assert told[0].startswith("the run's last state is on this machine alone: s3://")
    with pytest.raises(StoreUnavailable):
        files.end()
    s3.ask = lambda method, path: ""
