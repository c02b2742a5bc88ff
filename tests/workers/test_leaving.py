"""How long a training process may take to leave, and what a page says until it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

from apps.jobs.errors import JobCancelled, JobInterrupted
from apps.jobs.models import Job, JobGroup
from workers.executors.local import _Fresh
from workers.handlers.training import SAVE_SECONDS, Grace, _grace, _is_saving, _leave

pytestmark = pytest.mark.django_db

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); signal.pause()"


def test_who_cancels_waits_for_seconds_and_a_worker_leaves_within_its_grace(settings):
    settings.WORKER_GRACE_SECONDS = 30
    assert _grace(JobCancelled("by erin")).to_drop < 15
    assert _grace(JobCancelled("by erin")).to_save == SAVE_SECONDS
    assert _grace(JobInterrupted("the worker ends")).to_save < 30


@pytest.mark.slow
def test_a_process_that_does_not_listen_is_ended(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"on\n"
    process = _Fresh(child)
    _leave(process, grace=Grace(0.05, 9.0))
    assert process.poll() is None
    told: list[tuple[float, bool]] = []
    _leave(process, grace=Grace(0.05, 0.4), is_saving=lambda: True, tell=lambda *said: told.append(said))
    assert process.poll() is None
    assert len(told) > 1
    assert all(0 < left <= 0.4 and saving for left, saving in told)
    process.kill()
    assert process.poll() is not None


def test_a_checkpoint_that_is_being_written_is_waited_for(tmp_path):
    from prefloop.engine.resume import remove_dir
    from prefloop.recipes.runspec import TEMPORARY

    (tmp_path / "step-000002").mkdir()
    assert not _is_saving(tmp_path)
    (tmp_path / f"step-000003{TEMPORARY}ab").mkdir()
    assert _is_saving(tmp_path)
    remove_dir(tmp_path / f"step-000003{TEMPORARY}ab")
    assert not _is_saving(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "now", "word"), [("cancelled", "cancelling", "Cancelling"), ("paused", "pausing", "Pausing")]
)
def test_a_loop_is_still_stopping_until_its_last_job_has_left(
    then, now, word, project, erin, bob, client_for, api_for, make_user
):
    from datetime import timedelta

    from django.utils import timezone

    from apps.training.loops.steering import loop_cancel, loop_pause
    from apps.training.models import Loop, Round
    from prefloop.recipes.catalogue import get_recipe

    recipe = get_recipe("dpo")
    loop = Loop.objects.create(
        project=project, recipe="dpo", config=recipe.to_json(), n_rounds=1, state="running", started_by=erin
    )
    group = JobGroup.objects.create(project=project, name="training", open_count=1)
    Round.objects.create(loop=loop, index=1, stage="training", group=group)
    job = Job.objects.create(
        project=project, kind="training.run", queue="gpu", group=group, state="running", worker="gpu@elsewhere:1",
        lease_until=timezone.now() + timedelta(minutes=1), message="stopping: at most 9 s more",
    )  # fmt: skip
    if then == "paused":
        loop_pause(loop=loop, by=erin)
    else:
        loop_cancel(loop=loop, by=erin, now=timezone.now())
    path = f"/p/{project.slug}/loops/{loop.pk}/"

    def said():
        page = client_for(erin).get(path)
        body = page.content.decode()
        listed = client_for(bob).get(f"/p/{project.slug}/loops/").content.decode()
        state = api_for(erin).get(f"/api/v1/loops/{loop.pk}/").json()["state"]
        told = word in body and "at most 9 s more" in body, word in listed and "at most 9 s more" in listed
        return state, *told, "loop-resume" in body, page.get("X-Poll")

    assert said() == (now, True, True, False, None)
    before = client_for(erin).get(path)["X-Since"]
    Job.objects.filter(pk=job.pk).update(state="cancelled")
    assert said() == (then, False, False, True, "stop" if then == "cancelled" else None)
    assert client_for(erin).get(path)["X-Since"] != before


class Ended:
    """A process that has said all and ends after so many looks."""

    waiting = ""

    def __init__(self, looks):
        self.looks = looks

    def poll(self):
        self.looks -= 1
        return None if self.looks >= 0 else 0

    def wait(self, seconds):
        return 0


def test_what_a_run_does_before_and_in_its_steps_is_shown_as_it_goes(project, settings, tmp_path):
    from contextlib import nullcontext

    from apps.policies.store import store_path
    from apps.training.models import TrainingRun
    from prefloop.recipes.events import EventWriter
    from workers.handlers.training import _follow
    from workers.online import DatabaseLink
    from workers.run_files import RunFiles

    settings.STORE_DIR = tmp_path / "store"
    run = TrainingRun.objects.create(project=project, kind="dpo", run_dir="runs/1")
    store_path(run.run_dir).mkdir(parents=True)
    events = EventWriter(store_path(run.run_dir) / "events.jsonl")
    shown = []
    words = iter([
        lambda: events.write("progress", phase="reference", done=3, total=8),
        lambda: events.write("start", step=0, n_rows=8, n_steps=4),
        lambda: events.write("progress", phase="drawing", done=5, total=16, step=1),
        lambda: events.write("metric", step=1, values={"loss": 0.5}),
    ])  # fmt: skip

    class Context:
        def fenced(self):
            next(words, lambda: None)()
            return nullcontext()

        def check(self):
            pass

        def log(self, text):
            pass

        def progress(self, done, total, text):
            shown.append((done, total, text))

    _follow(Context(), DatabaseLink(run), Ended(4), RunFiles(Context(), run))
    assert shown == [
        (3, 8, "reading reference log-probs, 3 of 8 batches"),
        (0, 4, "step 0 of 4"),
        (0, 4, "step 0 of 4; in the next, answers to 5 of 16 prompts are drawn"),
        (1, 4, "step 1 of 4"),
    ]
