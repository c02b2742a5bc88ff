"""Judges that die, lie, or hang: what was answered is kept and not asked for again."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter

import pytest

from apps.jobs.drain import drain_until
from apps.jobs.identity import worker_name
from apps.jobs.models import Job, JobGroup, JobState
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import Verdict
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Endpoint
from apps.samples.models import Comparison
from apps.training.loops.starting import loop_start
from apps.training.loops.steering import loop_resume
from apps.training.models import LoopState, Metric, Snapshot, TrainingRun
from tests.faults.scripted import Scripted

pytestmark = [pytest.mark.faults, pytest.mark.slow]
N = 60
CALLS_AT_ONCE = 8


@pytest.fixture
def server():
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def small_letters(site, make_letters_project):
    """small_letters(n_labelled=…): the project in this site's own database and store."""
    return lambda **sizes: make_letters_project(store=site.directory / "store", **sizes)


def judge_at(project, settings, port):
    settings.ENDPOINT_ALLOW = [f"127.0.0.1:{port}"]
    endpoint = endpoint_create(project=project, name="scripted", base_url=f"http://127.0.0.1:{port}/v1", model="m")
    return judge_create(project=project, name="scripted", kind="llm", endpoint=endpoint, criterion="kind and correct")


def trainable_ids(project):
    return list(Comparison.objects.filter(project=project, held_out=False).order_by("id").values_list("id", flat=True))


def verdicts_of(judge):
    return Verdict.objects.filter(judge=judge)


def each_once(judge, ids):
    """Whether every comparison has one good verdict in each order, and nothing else is there."""
    rows = Counter(verdicts_of(judge).values_list("comparison_id", "order", "sample", "state"))
    return rows == Counter((key, order, 0, "ok") for key in ids for order in ("01", "10"))


def kill(worker):
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def test_a_worker_killed_while_it_asks_pays_again_only_for_the_calls_in_flight(site, small_letters, settings, server):
    project = small_letters(n_labelled=N)
    port = server.server_address[1]
    judge, ids = judge_at(project, settings, port), trainable_ids(project)
    judging_run_create(project=project, judge=judge, comparison_ids=ids)
    allow = {"PREFLOOP_ENDPOINT_ALLOW": f"127.0.0.1:{port}"}
    server.hold_after = 40
    worker = site.worker(**allow)
    site.wait_for(lambda: verdicts_of(judge).count() == 40, "the answers that were given")
    site.wait_for(lambda: server.n_asked == 40 + CALLS_AT_ONCE, "the calls in flight")
    kill(worker)
    kept = set(verdicts_of(judge).values_list("id", flat=True))
    server.hold_after = None
    server.go.set()
    site.worker(**allow)
    job = Job.objects.get(kind="judging.chunk")
    site.wait_for(lambda: Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED, "the second attempt")
    assert each_once(judge, ids)
    assert kept <= set(verdicts_of(judge).values_list("id", flat=True))
    assert Counter(server.asked.values()) == {1: 2 * N - CALLS_AT_ONCE, 2: CALLS_AT_ONCE}
    assert Job.objects.get(pk=job.pk).attempt == 2


def test_a_worker_killed_between_the_last_answer_and_the_end_asks_nothing_more(site, small_letters, settings, server):
    project = small_letters(n_labelled=10)
    judge, ids = judge_at(project, settings, server.server_address[1]), trainable_ids(project)
    run = judging_run_create(project=project, judge=judge, comparison_ids=ids)
    drain_here(lambda: each_once(judge, ids))
    n_asked = server.n_asked
    # as a killed worker leaves it and the reconciler finds it: everything written but the end
    Job.objects.filter(group=run.group).update(state=JobState.QUEUED, ended_at=None)
    JobGroup.objects.filter(pk=run.group.pk).update(open_count=1)
    drain_here(lambda: Job.objects.get(group=run.group).state == JobState.SUCCEEDED)
    assert server.n_asked == n_asked == 20
    assert each_once(judge, ids)


def test_a_worker_told_to_leave_writes_the_answers_in_flight_first(site, small_letters, settings, server):
    project = small_letters(n_labelled=N)
    port = server.server_address[1]
    judge, ids = judge_at(project, settings, port), trainable_ids(project)
    judging_run_create(project=project, judge=judge, comparison_ids=ids)
    allow = {"PREFLOOP_ENDPOINT_ALLOW": f"127.0.0.1:{port}"}
    server.hold_after = 40
    worker = site.worker(**allow)
    site.wait_for(lambda: server.n_asked == 40 + CALLS_AT_ONCE, "the calls in flight")
    worker.terminate()
    threading.Timer(1.0, server.go.set).start()  # they are answered while it leaves
    assert worker.wait(timeout=40) == 0
    n_kept = verdicts_of(judge).count()
    assert 40 < n_kept < 2 * N
    assert Job.objects.values_list("state", "attempt").get(kind="judging.chunk") == (JobState.QUEUED, 0)
    server.hold_after = None
    site.worker(**allow)
    site.wait_for(lambda: each_once(judge, ids), "the rest")
    assert set(server.asked.values()) == {1}


def test_the_simulated_judge_killed_in_the_middle_says_everything_once(site, small_letters):
    project = small_letters(n_labelled=250)
    endpoint = endpoint_create(
        project=project, name="simulated", base_url="simulated://letters", model="simulated-judge", is_simulated=True
    )
    judge = judge_create(
        project=project,
        name="simulated",
        kind="llm",
        endpoint=endpoint,
        criterion="kind and correct",
        is_simulated=True,
    )
    ids = trainable_ids(project)
    run = judging_run_create(project=project, judge=judge, comparison_ids=ids)
    worker = site.worker()
    site.wait_for(lambda: verdicts_of(judge).exists(), "the first verdicts")
    kill(worker)
    assert 0 < verdicts_of(judge).count() < 2 * len(ids), "killed too late to be in the middle of judging"
    site.worker()
    site.wait_for(lambda: not Job.objects.filter(group=run.group).exclude(state="succeeded").exists(), "the rest")
    assert each_once(judge, ids)
    before = {(v.comparison_id, v.order): v.outcome for v in verdicts_of(judge)}
    again = judge_create(
        project=project,
        name="simulated-2",
        kind="llm",
        endpoint=endpoint,
        criterion="kind and correct",
        is_simulated=True,
    )
    judging_run_create(project=project, judge=again, comparison_ids=ids)
    site.wait_for(lambda: each_once(again, ids), "an undisturbed judge's verdicts")
    assert before == {(v.comparison_id, v.order): v.outcome for v in verdicts_of(again)}


def test_an_endpoint_that_is_down_is_waited_for_with_longer_and_longer_pauses(site, small_letters, settings):
    project = small_letters(n_labelled=10)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    judge, ids = judge_at(project, settings, port), trainable_ids(project)
    judging_run_create(project=project, judge=judge, comparison_ids=ids)
    job = Job.objects.get(kind="judging.chunk")
    site.worker(PREFLOOP_ENDPOINT_ALLOW=f"127.0.0.1:{port}")

    def pauses():
        texts = job.events.filter(text__contains="again in").values_list("text", flat=True)
        return [int(text.rpartition("again in ")[2].split()[0]) for text in texts.order_by("id")]

    site.wait_for(lambda: len(pauses()) == 2, "two attempts on a dead endpoint")
    job.refresh_from_db()
    assert (job.state, job.failure_class, job.token) == (JobState.QUEUED, "", None)
    assert pauses() == [2, 4]
    assert not verdicts_of(judge).exists()
    server = Scripted(port)
    try:
        site.wait_for(lambda: Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED, "the endpoint to be found")
    finally:
        server.close()
    assert each_once(judge, ids)
    assert set(server.asked.values()) == {1}


def drain_here(done):
    drain_until(done, queues=["gpu", "cpu"], worker_name=worker_name(queue="foreground"))


def test_an_endpoint_that_answers_html_fails_the_loop_in_plain_words_and_the_loop_goes_on_when_it_is_put_right(
    site, small_letters, settings, server
):
    project = small_letters(n_labelled=16)
    judge, ids = judge_at(project, settings, server.server_address[1]), trainable_ids(project)
    server.html = True
    server.prefers = [(row.first.text, row.second.text) for row in Comparison.objects.filter(pk__in=ids)]
    chosen = {"label.judge": "scripted", "objective.batch": "8", "label.labels": "soft"}
    loop = loop_start(project=project, recipe="dpo", settings=chosen, seed=1)

    def ended():
        loop.refresh_from_db()
        return loop.state not in (LoopState.QUEUED, LoopState.RUNNING)

    drain_here(ended)
    assert (loop.state, loop.failure_class) == (LoopState.FAILED, "judge_refused")
    assert "answered HTML, not JSON: is http://127.0.0.1" in loop.error
    assert "\n" not in loop.error
    assert server.n_asked == 1  # not once for every comparison
    for model in (Snapshot, TrainingRun, Metric):
        assert not model.objects.exists()
    assert not verdicts_of(judge).exists()
    assert Endpoint.objects.get().base_url.endswith("/v1")

    server.html = False
    loop_resume(loop=loop, by=None)
    drain_here(ended)
    assert (loop.state, loop.error, loop.failure_class) == (LoopState.DONE, "", "")
    assert each_once(judge, ids)
    assert loop.rounds.get(index=1).output is not None
    assert Job.objects.filter(kind="judging.chunk").count() == 2  # the failed one stays as it is
    assert server.n_asked == 2 * len(ids) + 1
