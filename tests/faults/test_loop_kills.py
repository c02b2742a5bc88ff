"""A loop whose workers are killed with -9 in the middle of each stage ends as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from apps.jobs.drain import drain_until
from apps.jobs.identity import worker_name
from apps.jobs.models import Job, JobState
from apps.labels.models import Score
from apps.samples.models import Completion
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, LoopState, Metric, TrainingRun
from prefloop.recipes.events import read_events
from tests.faults.outcome import outcome
from tests.faults.processes import Workers, processes_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

N_PROMPTS, N_DRAWS = 24, 128  # written four prompts at a time: enough of them to be met in the middle
SETTINGS = {
    "prompts.n": str(N_PROMPTS),
    "draws.n": str(N_DRAWS),
    "draws.max_tokens": "24",
    "objective.batch": "8",
    "objective.epochs": "40",  # of 3 steps each; a checkpoint every 25 steps
}
N_STEPS = 120


def start(project):
    return loop_start(project=project, recipe="iterative-dpo", settings=SETTINGS, n_rounds=1, seed=3)


def undisturbed(open_site, make_letters_project):
    with open_site("undisturbed") as site:
        make_letters_project(store=site.directory / "store")
        settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
        command = ("run_recipe", "iterative-dpo", "--project", "letters-test", "--rounds", "1", "--seed", "3", "--json")
        process = site.start(*command, *settings)
        assert process.wait(timeout=240) == 0, site.log(process)
        made = outcome(Loop.objects.get())
        assert [row["loss"] for row in json.loads(site.log(process).splitlines()[-1])["rounds"]] == [
            row["loss"] for row in made["rounds"]
        ]
    return made


def job_of(kind, **where):
    return Job.objects.filter(kind=kind, **where).order_by("-id").first()


def test_a_loop_killed_in_sampling_judging_and_training_ends_as_an_undisturbed_one(open_site, make_letters_project):
    wanted = undisturbed(open_site, make_letters_project)
    with open_site("disturbed") as site:
        loop = start(make_letters_project(store=site.directory / "store"))
        workers = Workers(site)
        drawn = Completion.objects.filter(run__purpose="loop")
        site.wait_for(lambda: drawn.exists(), "the first answers")
        workers.kill()
        assert 0 < drawn.count() < N_PROMPTS * N_DRAWS, "killed too late to be in the middle of sampling"
        assert job_of("sampling.chunk").state == JobState.RUNNING  # nobody was left to say anything else

        workers.start()
        scored = Score.objects.filter(completion__run__purpose="loop")
        site.wait_for(lambda: scored.exists(), "the first scores")
        workers.kill()
        assert 0 < scored.count() < N_PROMPTS * N_DRAWS, "killed too late to be in the middle of judging"
        assert job_of("sampling.chunk").attempt == 2

        workers.start()
        steps = Metric.objects.filter(run__kind="dpo")
        site.wait_for(lambda: steps.filter(step__gte=5).exists(), "the first steps of training")
        assert workers.leave() == [0, 0]
        run = TrainingRun.objects.get(kind="dpo")
        job = job_of("training.run", payload__run=run.pk)
        assert (job.state, job.attempt) == (JobState.QUEUED, 0)  # told to leave: no attempt of its own is lost
        directory = site.directory / "store" / run.run_dir
        left_at = max(int(path.name.removeprefix("step-")) for path in directory.glob("step-*"))
        assert 5 <= left_at < N_STEPS, "told to leave too late to be in the middle of training"

        workers.start()
        kill_at = max(left_at + 1, 30)
        site.wait_for(lambda: steps.filter(step__gte=kill_at).exists(), "training to go on")
        workers.kill()
        site.wait_for(lambda: not processes_of(directory), "the training process to follow its worker", seconds=10)
        reached = steps.count()
        assert kill_at <= reached < N_STEPS, "killed too late to be in the middle of training"
        assert Loop.objects.get().state == LoopState.RUNNING

        workers.start()
        site.wait_for(lambda: Loop.objects.get().state != LoopState.RUNNING, "the end of the loop", seconds=120)
        loop.refresh_from_db()
        assert (loop.state, loop.error) == (LoopState.DONE, "")
        made = outcome(loop)
        events = read_events(directory / "events.jsonl")[0]
        attempts = {job.kind: job.attempt for job in Job.objects.order_by("id")}
        assert not Job.objects.exclude(state=JobState.SUCCEEDED).exists()

    resumed_from = [event.step for event in events if event.type == "resume"]
    assert resumed_from[0] == left_at
    # the newest checkpoint, not the start: the one it left with, or a later one of every 25th step
    assert resumed_from[1] >= left_at
    assert resumed_from[1] in {left_at, 25, 50, 75, 100}
    assert max(Counter(answer[:4] for answer in made["answers"]).values()) == 1
    assert Counter(answer[0] for answer in made["answers"])["loop"] == N_PROMPTS * N_DRAWS
    assert len({verdict[:5] for verdict in made["verdicts"]}) == len(made["verdicts"]) == 40 + N_PROMPTS
    assert [step for kind, step, _ in made["metrics"] if kind == "dpo"] == list(range(1, N_STEPS + 1))
    assert made["metrics"] == wanted["metrics"]  # every loss, to the last bit
    for key, value in wanted.items():
        assert made[key] == value, key
    assert attempts["training.run"] == 2
    assert set(attempts) >= {"sampling.chunk", "scoring.chunk", "training.run", "evaluation.run", "rounds.advance"}


@pytest.mark.parametrize(("how", "said"), [(signal.SIGTERM, "told to leave"), (signal.SIGKILL, "was killed")])
def test_a_training_process_that_ends_unasked_is_started_again_and_loses_no_step(site, make_letters_project, how, said):
    project = make_letters_project(store=site.directory / "store", n_labelled=16)
    settings = {"objective.batch": "8", "objective.epochs": "40"}
    loop = loop_start(project=project, recipe="dpo", settings=settings, seed=1)
    ended = []

    def end_it(ctx, step, n_steps, message):
        if ctx.kind == "training.run" and step >= 1 and not ended:
            ended.append(step)
            (pid,) = processes_of(site.directory / "store")
            os.kill(pid, how)

    def done():
        loop.refresh_from_db()
        return loop.state not in (LoopState.QUEUED, LoopState.RUNNING)

    drain_until(done, queues=["gpu", "cpu"], worker_name=worker_name(queue="foreground"), on_progress=end_it)
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    job = Job.objects.get(kind="training.run")
    assert job.attempt == 2
    assert job.events.filter(text__contains=said).count() == 1
    assert 1 <= ended[0] < 80
    assert list(Metric.objects.order_by("step").values_list("step", flat=True)) == list(range(1, 81))
