"""A loop that samples inside its training, with everything going wrong: it ends as one that nobody disturbed."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from collections import Counter
from pathlib import Path

import pytest

from apps.jobs.models import Job, JobState
from apps.judging.services import judge_create
from apps.labels.models import Verdict
from apps.policies.endpoints import endpoint_create
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.spending import spent_on
from apps.samples.models import Completion
from apps.training.lineage.selectors import loop_rows
from apps.training.loops.starting import loop_start
from apps.training.loops.steering import loop_resume
from apps.training.models import LoopState, Metric, TrainingRun
from tests.faults.processes import Workers, processes_of
from tests.faults.scripted import Scripted

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

N_PROMPTS, BATCH = 40, 2
N_STEPS = N_PROMPTS // BATCH
SETTINGS = {
    "prompts.n": str(N_PROMPTS),
    "objective.batch": str(BATCH),
    "draws.max_tokens": "24",
    "label.judge": "scripted",
}


class Opinionated(Scripted):
    """Says of each request always the same, as its text falls out."""

    def verdict(self, request: str) -> str:
        return "AB"[hashlib.sha256(request.encode()).digest()[0] & 1]


@pytest.fixture
def server():
    server = Opinionated()
    yield server
    server.close()


class Stepping:
    """A site with a running oaif-dpo loop, its judge at `port`."""

    def __init__(self, site, make_letters_project, settings, port, cap_tokens=None):
        self.site = site
        settings.ENDPOINT_ALLOW = [f"127.0.0.1:{port}"]
        project = make_letters_project(store=site.directory / "store", n_train=N_PROMPTS, n_eval=4, n_labelled=4)
        endpoint = endpoint_create(project=project, name="scripted", base_url=f"http://127.0.0.1:{port}/v1", model="m")
        Endpoint.objects.filter(pk=endpoint.pk).update(cap_tokens=cap_tokens)
        self.judge = judge_create(
            project=project,
            name="scripted",
            kind="llm",
            endpoint=endpoint,
            criterion="kind and correct",
            order_policy="average",
            options={"max_tokens": 100},
        )
        self.loop = loop_start(project=project, recipe="oaif-dpo", settings=SETTINGS, n_rounds=1, seed=3)
        self.workers = Workers(site, PREFLOOP_ENDPOINT_ALLOW=f"127.0.0.1:{port}")

    @property
    def metrics(self):
        return Metric.objects.filter(run__kind="online")

    def reach(self, step):
        self.site.wait_for(lambda: self.metrics.filter(step__gte=step).exists(), f"step {step}", seconds=120)

    def advance(self, n):
        """Wait for n more steps than are told: workers that have just started are then at work."""
        self.reach((self.metrics.order_by("step").values_list("step", flat=True).last() or 0) + n)

    @property
    def process(self):
        """The training process, and the directory of its run."""
        directory = self.site.directory / "store" / TrainingRun.objects.get(kind="online").run_dir
        self.site.wait_for(lambda: processes_of(directory), "the training process")
        return processes_of(directory)[0], directory

    def end(self):
        def ended():
            self.loop.refresh_from_db()
            return self.loop.state not in (LoopState.QUEUED, LoopState.RUNNING)

        self.site.wait_for(ended, "the end of the loop", seconds=180)
        return self.loop.state, self.loop.failure_class

    def outcome(self):
        def name(completion):
            return (completion.prompt.external_id, completion.index)

        answers = Completion.objects.filter(run__purpose="loop").select_related("prompt")
        verdicts = Verdict.objects.filter(judge=self.judge).select_related("comparison__first__prompt")
        skipped = ("seconds", "checkpoint")
        return {
            "answers": sorted((*name(row), row.text, tuple(row.token_ids), row.logp_sum) for row in answers),
            "verdicts": sorted((*name(row.comparison.first), row.order, row.outcome) for row in verdicts),
            "metrics": list(self.metrics.order_by("step").values_list("step", "values")),
            "weights": list(Checkpoint.objects.order_by("id").values_list("role", "fingerprint")),
            "rounds": [{k: v for k, v in row.items() if k not in skipped} for row in loop_rows(self.loop)],
        }


def test_killed_told_to_leave_without_its_judge_and_without_disk_it_ends_as_an_undisturbed_one(
    open_site, make_letters_project, settings, server
):
    port = server.server_address[1]
    with open_site("undisturbed") as site:
        calm = Stepping(site, make_letters_project, settings, port)
        assert calm.end() == (LoopState.DONE, "")
        wanted = calm.outcome()
    n_questions = server.n_asked
    assert n_questions == 2 * N_PROMPTS == len(wanted["verdicts"])
    assert [step for step, _ in wanted["metrics"]] == list(range(1, N_STEPS + 1))
    server.asked.clear()

    with open_site("disturbed") as site:
        rough = Stepping(site, make_letters_project, settings, port)
        rough.reach(2)
        rough.workers.kill()
        _, directory = None, site.directory / "store" / TrainingRun.objects.get(kind="online").run_dir
        site.wait_for(lambda: not processes_of(directory), "the training process to follow its worker", seconds=10)
        assert rough.metrics.count() < N_STEPS

        rough.workers.start()
        rough.advance(2)
        assert rough.workers.leave() == [0, 0]
        assert rough.metrics.count() < N_STEPS

        server.hold_after = server.n_asked + 4 * 2 * BATCH  # four steps' questions, so that some are left to ask
        rough.workers.start()
        rough.advance(1)
        server.close()  # the judge's machine goes down
        training = Job.objects.filter(kind="training.run").order_by("id").last()
        waiting = training.events.filter(text__contains="again in")
        site.wait_for(lambda: waiting.exists(), "the run to wait for its judge", seconds=60)
        rough.loop.refresh_from_db()
        assert rough.loop.state == LoopState.RUNNING
        assert rough.metrics.count() < N_STEPS
        back = Opinionated(port)
        back.asked = server.asked
        back.hold_after = back.n_asked + 2 * 2 * BATCH
        try:
            rough.advance(1)
            pid, directory = rough.process
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # as a full disk answers
            back.hold_after = None
            back.go.set()
            assert rough.end() == (LoopState.FAILED, "out_of_disk")
            assert rough.metrics.count() < N_STEPS
            loop_resume(loop=rough.loop, by=None)
            assert rough.end() == (LoopState.DONE, "")
            made = rough.outcome()
        finally:
            back.close()
        assert not Job.objects.filter(state=JobState.RUNNING).exists()

    for key, value in wanted.items():
        assert made[key] == value, key
    asked = Counter(server.asked.values())
    assert sum(asked.values()) == n_questions  # every question was asked, and no other
    assert asked[1] >= n_questions - 3 * 8  # again only for calls that were in flight when something broke
    assert max(asked) <= 3


def test_a_training_process_killed_inside_a_step_is_started_again_and_doubles_nothing(
    site, make_letters_project, settings, server
):
    stepping = Stepping(site, make_letters_project, settings, server.server_address[1])
    stepping.reach(3)
    pid, _ = stepping.process
    os.kill(pid, signal.SIGKILL)
    assert stepping.end() == (LoopState.DONE, "")
    assert [step for step, _ in stepping.outcome()["metrics"]] == list(range(1, N_STEPS + 1))
    assert len(stepping.outcome()["verdicts"]) == 2 * N_PROMPTS
    job = Job.objects.get(kind="training.run", state=JobState.SUCCEEDED)
    assert job.attempt == 2


def test_no_step_passes_its_judges_cap_by_one_call_killed_or_not_and_no_stored_verdict_is_paid_twice(
    site, make_letters_project, settings, server
):
    server.usage = None  # what is not told counts as the most: a call costs all that was held for it
    cap = 40_000
    stepping = Stepping(site, make_letters_project, settings, server.server_address[1], cap_tokens=cap)
    assert stepping.end() == (LoopState.FAILED, "cap_reached")
    n_asked, spent = server.n_asked, spent_on(Endpoint.objects.get())
    each = spent.tokens / n_asked
    assert (spent.n_calls, spent.held_tokens) == (n_asked, 0)
    assert cap - 1.5 * each < spent.tokens <= cap  # no call more, and none less
    assert len(stepping.outcome()["verdicts"]) == n_asked

    cap *= 2
    Endpoint.objects.update(cap_tokens=cap)
    server.hold_after = n_asked + 6
    loop_resume(loop=stepping.loop, by=None)
    site.wait_for(lambda: server.n_asked > server.hold_after, "calls in flight")
    _, directory = stepping.process
    stepping.workers.kill()
    site.wait_for(lambda: not processes_of(directory), "the training process to follow its worker", seconds=10)
    assert Endpoint.objects.get().committed_tokens <= cap
    server.hold_after = None
    server.go.set()
    stepping.workers.start()
    assert stepping.end() == (LoopState.FAILED, "cap_reached")
    spent = spent_on(Endpoint.objects.get())
    assert spent.tokens + spent.held_tokens <= cap
    # what the kill left unanswered stays held: it may have been charged
    assert 0 < spent.held_tokens <= 8 * 1.5 * each
    assert spent.n_calls + round(spent.held_tokens / each) == pytest.approx(server.n_asked, abs=2)

    Endpoint.objects.update(cap_tokens=None)
    loop_resume(loop=stepping.loop, by=None)
    assert stepping.end() == (LoopState.DONE, "")
    asked = Counter(server.asked.values())
    assert sum(asked.values()) == 2 * N_PROMPTS == len(stepping.outcome()["verdicts"])
    assert set(asked) <= {1, 2}
    assert asked[2] <= 8  # none but those in flight when it was killed
