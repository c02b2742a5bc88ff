"""A job's questions to the engines of a cluster, with an engine in this process: every answer is stored, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.test import override_settings

from apps.jobs.drain import drain
from apps.jobs.models import Job, JobEvent
from apps.judging import services
from apps.judging.services import judge_create, judging_run_create
from apps.labels.models import JudgingPart, Verdict
from apps.policies.services import checkpoint_import
from apps.samples.models import Completion
from apps.samples.services import sampling_run_create
from prefloop.bulk.run import engine_times
from prefloop.bulk.work import Said, pieces_left, read_asked, read_work, write_said
from prefloop.model_sources import Directory
from prefloop.recipes.runspec import EXIT_OF_FAILURE, RunFailure, write_failure
from workers import executors

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


class Cluster:
    """Takes tasks, and runs `answer(directory, pieces)` in this process when it is first looked at."""

    lost, waiting, place = "", "", None

    def __init__(self, answer):
        self.answer, self.started, self.returncode = answer, [], None

    def start(self, task):
        self.started.append(task)
        self.returncode = None
        return self

    def poll(self):
        if self.returncode is None:
            directory = Path(self.started[-1].arguments[0])
            self.returncode = self.answer(directory, pieces_left(directory)) or 0
        return self.returncode

    def wait(self, timeout=None):
        return self.poll()

    def kill(self):
        raise AssertionError("it has ended")


@pytest.fixture
def policy(project, settings, tmp_path):
    from prefloop.policy.loading import save_model
    from prefloop.policy.tiny import tiny_policy

    settings.STORE_DIR = settings.VAR_DIR = tmp_path / "store"
    settings.EXECUTOR, settings.CARDS, settings.BULK_FROM = "ray", 0, 1
    made = tiny_policy(chat=True, max_position_embeddings=4096)
    save_model(made.model, made.tokenizer, tmp_path / "policy")
    return checkpoint_import(project=project, name="tiny", role="policy", source=Directory(tmp_path / "policy"))


@pytest.fixture
def on(monkeypatch):
    def use(answer):
        cluster = Cluster(answer)
        monkeypatch.setattr(executors, "start", cluster.start)
        return cluster

    return use


def by_the_engine(directory, pieces):
    """Answer as an engine on a node does."""
    from prefloop.bulk.actor import Engine

    engine = Engine(str(directory))
    rows = [{name: values[0] for name, values in engine({"piece": [n]}).items()} for n in pieces]
    assert not any(row["failure"] for row in rows)
    (directory / "engines.json").write_text(json.dumps(engine_times(rows)))


@pytest.fixture
def judged(project, policy, make_comparison, monkeypatch, settings):
    """Makes runs of a judge over six pairs, cut into one job."""
    monkeypatch.setattr(services, "COMPARISONS_PER_JOB", 2)
    ids = [make_comparison(project, (f"Dear Maria, {n}.", f"Hey {n}.")).pk for n in range(6)]

    def make(executor=""):
        with override_settings(EXECUTOR=executor or settings.EXECUTOR):
            return cut()

    def cut():
        judge = judge_create(
            project=project, name="own", kind="policy", checkpoint=policy, criterion="Kinder.", mode="logprob",
            order_policy="average", options={"engine": "transformers"},
        )  # fmt: skip
        run = judging_run_create(project=project, judge=judge, comparison_ids=ids)
        (job,) = Job.objects.filter(group=run.group)
        return Verdict.objects.filter(judge=judge).order_by("comparison", "order"), job

    return make


def plain(verdicts):
    return list(verdicts.values_list("comparison", "order", "sample", "state", "outcome", "p_first"))


def test_engines_say_what_a_worker_would_and_what_a_killed_worker_left_is_not_asked_again(
    judged, on, settings, monkeypatch
):
    monkeypatch.setattr("workers.bulk.QUESTIONS_IN_A_PIECE", 5)
    verdicts, job = judged()
    (left,) = JudgingPart.objects.filter(run__group=job.group).values_list("ids", flat=True)
    earlier = settings.VAR_DIR / "bulk" / f"job-{job.pk}.0123456789ab"
    (earlier / "said").mkdir(parents=True)
    said = {"state": "ok", "outcome": "first", "p_first": 0.8}
    write_said(earlier, 3, [Said(f"{left[0]}:{order}:0", {**said, "flags": []}, 1.0) for order in ("01", "10")])
    asked = []

    def answer(directory, pieces):
        asked.extend(key for n in pieces for key, _ in read_asked(directory, n))
        by_the_engine(directory, pieces)

    cluster = on(answer)
    drain(["gpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.error) == ("succeeded", "")
    assert len(asked) == len(set(asked)) == 10
    assert not list((settings.VAR_DIR / "bulk").iterdir())
    assert JobEvent.objects.get(job=job, kind="engines").text.startswith("1 engines answered")
    found = plain(verdicts)
    assert len(found) == 12
    assert [row[3:] for row in found if row[0] == left[0]] == [("ok", "first", 0.8)] * 2

    settings.EXECUTOR = "local"  # what was cut for a cluster is answered by a worker that has none, and alike
    cluster.started.clear()
    verdicts, job = judged("ray")
    drain(["gpu"], worker_name="w")
    assert not cluster.started
    for mine, theirs in zip(plain(verdicts)[2:], found[2:], strict=True):
        assert mine[:5] == theirs[:5]
        assert mine[5] == (None if theirs[5] is None else pytest.approx(theirs[5], abs=1e-4))


def test_what_was_answered_before_an_engine_failed_is_stored_and_the_failure_is_the_job_s(judged, on):
    def fails(directory, pieces):
        (key, _), *_ = read_asked(directory, 0)
        said = {"state": "ok", "outcome": "first", "p_first": 0.8, "flags": ["floored"]}
        write_said(directory, 0, [Said(key, said, 1.5), Said("7777:01:0", said, 1.0)])  # one that nobody asked
        write_failure(directory, RunFailure("judge_refused", "the server ended: no memory"))
        return EXIT_OF_FAILURE["judge_refused"]

    on(fails)
    verdicts, job = judged()
    drain(["gpu"], worker_name="w")
    job.refresh_from_db()
    assert (job.state, job.failure_class, job.error) == ("failed", "judge_refused", "the server ended: no memory")
    (verdict,) = verdicts
    assert (verdict.outcome, verdict.p_first, verdict.flags) == ("first", 0.8, ["floored"])


def test_answers_are_drawn_in_bulk_only_by_vllm_and_each_is_stored_once(project, policy, make_prompt, on, monkeypatch):
    from prefloop.bulk.engine import Drawing
    from prefloop.policy.loading import load_reader
    from prefloop.policy.served import Drawn
    from prefloop.types import Completion as Answer

    monkeypatch.setattr("workers.bulk.QUESTIONS_IN_A_PIECE", 3)
    rows = [make_prompt(project) for _ in range(4)]
    works = []

    class Sampler:
        def draw(self, prompt, k):
            return Drawn(Answer(f"{prompt.id} {k} {len(prompt.ids)}", (1, 2), -0.5, "tiny", 3, True))

    def draws(directory, pieces):
        works.append(read_work(directory))
        drawing = Drawing(Sampler(), load_reader(works[-1].checkpoint), at_once=4)
        for n in pieces:
            said = []
            drawing.answer(read_asked(directory, n), said.append)
            write_said(directory, n, said)
        (directory / "engines.json").write_text("[]")

    cluster = on(draws)

    def sampled(engine):
        run = sampling_run_create(
            project=project, checkpoint=policy, prompt_ids=[row.pk for row in rows], n=2, max_tokens=6, seed=3,
            engine=engine,
        )  # fmt: skip
        drain(["gpu"], worker_name="w")
        assert run.group.jobs.get().state == "succeeded"
        return Completion.objects.filter(run=run)

    answers = sampled("vllm")
    assert answers.count() == 8
    one = answers.get(prompt=rows[1], index=1)
    assert one.text.startswith(f"{rows[1].external_id} 1 ")
    assert (one.token_ids, one.logp_sum, one.finished, one.model_name) == ([1, 2], -0.5, True, "tiny")
    (work,) = works
    assert (work.draws.seed, work.draws.max_tokens, work.judge) == (3, 6, None)
    assert sampled("transformers").count() == 8
    assert len(cluster.started) == 1


def test_the_time_of_two_pieces_at_once_counts_once():
    def row(engine, began, ended):
        return {"engine": engine, "began": began, "ended": ended}

    rows = [row("a", 2.0, 6.0), row("a", 0.0, 4.0), row("a", 8.0, 9.0), row("b", 1.0, 2.0)]
    assert engine_times(rows) == [
        {"engine": "a", "pieces": 3, "began": 0.0, "ended": 9.0, "busy_seconds": 7.0},
        {"engine": "b", "pieces": 1, "began": 1.0, "ended": 2.0, "busy_seconds": 1.0},
    ]
