"""A database of an earlier version, with a loop half done at each stage, is migrated and its loops go on to their ends.

`earlier/` holds what `earlier/make_database.py` wrote there with the code of that version.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.labels.models import Vote
from apps.policies.store import store_path
from apps.rankings.models import Assignment
from apps.samples.models import Comparison
from apps.training.changes import recipe_of
from apps.training.loops.steering import loop_continue
from apps.training.models import Loop, LoopState, Round, Snapshot, Stage, TrainingRun
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.runspec import read_spec
from prefloop.recipes.snapshots import read_pairs
from tests.faults.conftest import using_database

EARLIER = Path(__file__).with_name("earlier")

pytestmark = pytest.mark.skipif(
    os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="what is kept is a SQLite database"
)


@pytest.fixture
def earlier(tmp_path, settings, django_db_blocker):
    """The earlier database as it was, open as Django's own; its rows are given as they were before any migration."""
    settings.STORE_DIR = tmp_path / "store"
    for name, text in json.loads((EARLIER / "store.json").read_text("utf-8")).items():
        path = settings.STORE_DIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("STORE_DIR", str(settings.STORE_DIR)), "utf-8")
    file = tmp_path / "earlier.sqlite3"
    link = sqlite3.connect(file)
    link.executescript((EARLIER / "database.sql").read_text("utf-8"))
    link.row_factory = sqlite3.Row
    tables = ("loop", "round", "snapshot", "trainingrun")
    rows = {
        table: {row["id"]: dict(row) for row in link.execute(f"select * from training_{table}")} for table in tables
    }
    link.close()
    with django_db_blocker.unblock(), using_database(str(file)):
        yield rows


@pytest.mark.slow
def test_loops_half_done_in_an_earlier_version_go_on_to_their_ends(earlier, fakes, drive):
    n_before = MigrationRecorder.Migration.objects.count()
    call_command("migrate", verbosity=0)
    assert MigrationRecorder.Migration.objects.count() > n_before  # it was an earlier one

    # they stand where they stood, with the settings that they had
    at = [(one.recipe, one.rounds.latest("index").index, one.rounds.latest("index").stage) for one in loops()]
    assert at == [
        ("iterative-dpo", 1, Stage.SAMPLING),
        ("iterative-dpo", 1, Stage.JUDGING),
        ("iterative-dpo", 1, Stage.REVIEW),
        ("iterative-dpo", 2, Stage.TRAINING),
        ("iterative-dpo", 1, Stage.EVALUATION),
        ("oaif-dpo", 2, Stage.TRAINING),
    ]
    for loop in loops():
        config = json.loads(earlier["loop"][loop.pk]["config"])
        assert loop.config == config
        assert recipe_of(loop, 2) == Recipe.from_json(config)
        assert said(recipe_of(loop, 2).to_json(), config) == config

    drive()
    waiting = Loop.objects.get(state=LoopState.WAITING)
    while waiting.state == LoopState.WAITING:  # at the gate of the first round, then of the second
        loop_continue(loop=waiting, by=None)
        drive()
        waiting.refresh_from_db()
    assert {(loop.state, loop.error) for loop in loops()} == {(LoopState.DONE, "")}
    assert not Job.objects.exclude(state="succeeded").exists()
    assert all(one.stage == Stage.DONE and one.result for one in Round.objects.all())
    assert Round.objects.count() == 3 * len(at)

    # what was frozen is as it was, and nothing that was under way was begun a second time
    for pk, row in earlier["snapshot"].items():
        snapshot = Snapshot.objects.get(pk=pk)
        assert snapshot.sha256 == row["sha256"] == hashlib.sha256(store_path(snapshot.path).read_bytes()).hexdigest()
        assert len(read_pairs(store_path(snapshot.path), sha256=row["sha256"])) == snapshot.n_pairs
    for pk, row in earlier["trainingrun"].items():
        run = TrainingRun.objects.get(pk=pk)
        spec = read_spec(store_path(run.run_dir))
        assert (run.snapshot_id, run.start_id, run.round_id) == (row["snapshot_id"], row["start_id"], row["round_id"])
        assert run.snapshot is None or spec.snapshot_sha256 == run.snapshot.sha256
        assert run.output is not None
    for one in Round.objects.filter(index__gt=0):
        assert TrainingRun.objects.filter(round=one).count() == 1


@pytest.mark.slow
def test_every_vote_that_an_earlier_version_wanted_has_a_seat_and_is_counted(earlier):
    call_command("migrate", verbosity=0)
    Job.objects.exclude(kind__in=["labels.review", "rankings.seats"]).delete()
    drain(["cpu"], worker_name="w")
    call_command("check_queue", verbosity=0)
    wanted = Comparison.objects.filter(same_answers=False, for_people=True)
    assert wanted.exists()
    assert {one.pk for one in wanted} == set(
        Assignment.objects.filter(state="free").values_list("comparison_id", flat=True)
    ) | set(Vote.objects.values_list("comparison_id", flat=True))


@pytest.mark.slow
def test_a_run_s_state_goes_and_comes_back_with_what_it_held(earlier):
    """The column repeated what `output` says; `error` and `job` were empty in every row."""
    runs = earlier["trainingrun"]
    assert {(row["error"], row["job_id"]) for row in runs.values()} == {("", None)}
    assert {row["output_id"] is not None for row in runs.values()} == {True, False}
    call_command("migrate", verbosity=0)
    call_command("migrate", "training", "0005", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("select id, state, error, job_id, output_id from training_trainingrun")
        back = {pk: rest for pk, *rest in cursor.fetchall()}
    assert back == {
        pk: ["queued" if row["output_id"] is None else "succeeded", "", None, row["output_id"]]
        for pk, row in runs.items()
    }


def loops():
    return list(Loop.objects.order_by("id"))


def said(now, then):
    """Of today's values, those that the earlier version knew."""
    if isinstance(then, dict):
        return {key: said(now[key], value) for key, value in then.items()}
    return [said(a, b) for a, b in zip(now, then, strict=True)] if isinstance(then, list) else now
