"""A backup that is made while a loop trains can be restored, and the loop goes on to what it would have come to."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from contextlib import contextmanager

import pytest

from apps.training.loops.starting import loop_start
from apps.training.models import Loop, LoopState, Metric
from tests.faults.conftest import POSTGRES, Site, postgres_admin, using_database
from tests.faults.outcome import outcome
from tests.faults.processes import Workers

pytestmark = [pytest.mark.faults, pytest.mark.slow]
SETTINGS = {"objective.batch": "8", "objective.epochs": "300"}  # of two steps each
N_STEPS = 600


@contextmanager
def empty_site(directory):
    """A directory and a database with nothing in them; entered as a site."""
    directory.mkdir()
    name = f"restored_{uuid.uuid4().hex[:8]}" if POSTGRES else str(directory / "site.sqlite3")
    url = f"sqlite:///{name}"
    if POSTGRES:
        postgres_admin(f'CREATE DATABASE "{name}"')
        url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    site = Site(directory=directory, database_url=url)
    with using_database(name):
        try:
            yield site
        finally:
            site.end()
    if POSTGRES:
        postgres_admin(f'DROP DATABASE "{name}" WITH (FORCE)')


def command(site, *words, fails=False):
    process = site.start(*map(str, words))
    code = process.wait(timeout=120)
    said = site.log(process)
    assert bool(code) == fails, said
    return said


def done(site):
    site.wait_for(lambda: Loop.objects.get().state != LoopState.RUNNING, "the end of the loop", seconds=180)
    loop = Loop.objects.get()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    return outcome(loop)


def test_a_loop_in_training_goes_on_from_a_backup_to_the_same_end(open_site, make_letters_project, tmp_path, settings):
    kept = tmp_path / "kept"
    with open_site("first") as site:
        loop_start(
            project=make_letters_project(store=site.directory / "store", n_labelled=16),
            recipe="dpo",
            settings=SETTINGS,
            seed=1,
        )
        (site.directory / "uploads").mkdir()
        (site.directory / "uploads" / "answers.jsonl").write_text("{}\n")
        workers = Workers(site)
        site.wait_for(lambda: Metric.objects.filter(step__gte=5).exists(), "the first steps", seconds=120)
        command(site, "backup", kept)
        assert Metric.objects.count() < N_STEPS, "backed up too late to be in the middle of training"
        wanted = done(site)  # it went on undisturbed
        command(site, "backup", kept, "--keep", "2")
        workers.kill()
        key = (site.directory / "secret_key").read_text()
        shutil.rmtree(site.directory / "store")  # nothing of the first site is needed
    with empty_site(tmp_path / "second") as site:
        settings.STORE_DIR = site.directory / "store"
        middle, end = command(site, "restore", kept, "--list").split()
        command(site, "restore", kept, "--name", end)
        assert outcome(Loop.objects.get()) == wanted
        assert (site.directory / "uploads" / "answers.jsonl").read_text() == "{}\n"
        assert (site.directory / "secret_key").read_text() == key
        assert "not empty" in command(site, "restore", kept, fails=True)

    with empty_site(tmp_path / "third") as site:
        settings.STORE_DIR = site.directory / "store"
        command(site, "restore", kept, "--name", middle)
        command(site, "migrate", "--verbosity", "0")
        assert Metric.objects.count() < N_STEPS
        assert Loop.objects.get().state == LoopState.RUNNING
        Workers(site)
        assert done(site) == wanted


def test_a_backup_that_is_damaged_or_does_not_fit_restores_nothing(open_site, make_letters_project, tmp_path):
    kept = tmp_path / "kept"
    with open_site("first") as site:
        make_letters_project(store=site.directory / "store")
        assert "inside" in command(site, "backup", site.directory / "kept", fails=True)
        command(site, "backup", kept)
        n_contents = len(list((kept / "objects").glob("*/*")))
        again = json.loads("{" + command(site, "backup", kept, "--keep", "1", "--json").partition("{")[2])
        files = sum(path.stat().st_size for path in (site.directory / "store").rglob("*") if path.is_file())
        assert again["n_new"] <= again["n_bytes"] - files, "files that the first one has are copied again"
        assert len(list((kept / "objects").glob("*/*"))) <= n_contents
    (manifest,) = (kept / "backups").glob("*.json")
    row = json.loads(manifest.read_text())
    assert (manifest.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o600, 0o700)
    with empty_site(tmp_path / "second") as site:
        assert "SECRET_KEY" in refused(site, kept, SECRET_KEY="k" * 40)
        assert "no backup 'never'" in command(site, "restore", kept, "--name", "never", fails=True)
        weights = max(row["files"], key=lambda one: one["size"])
        content = kept / "objects" / weights["sha256"][:2] / weights["sha256"]
        good = content.read_bytes()
        content.write_bytes(good[:-1] + b"\0")
        assert f"{weights['path']} is not what was stored" in command(site, "restore", kept, fails=True)
        content.unlink()
        assert f"{weights['path']} is missing" in command(site, "restore", kept, fails=True)
        content.write_bytes(good)
        for change, word in (
            ({"form": 2}, "form 2"),
            ({"vendor": "oracle"}, "is of oracle"),
            ({"migrations": ["labels/9999_later"]}, "newer prefloop"),
            ({"files": [*row["files"], {**weights, "path": "../escaped"}]}, "points outside"),
        ):
            manifest.write_text(json.dumps({**row, **change}))
            assert word in command(site, "restore", kept, fails=True)
        assert not (tmp_path / "escaped").exists()
        assert not (site.directory / "store").exists()
        manifest.write_text(json.dumps(row))
        command(site, "restore", kept)
        command(site, "migrate", "--check")


def refused(site, kept, **env):
    process = site.start("restore", str(kept), **env)
    assert process.wait(timeout=60) != 0
    return site.log(process)
