"""A self-rewarding loop killed while its start is taught, while a policy writes prompts, and while it scores itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from apps.jobs.models import Job, JobState
from apps.labels.models import Score
from apps.prompts.models import Prompt
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, LoopState, Metric, TrainingRun
from apps.training.rounds.self_rewarding import WRITING_JOB
from prefloop.recipes.events import read_events
from tests.faults.outcome import outcome
from tests.faults.processes import Workers, processes_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

N_PROMPTS, N_DRAWS = 24, 16  # its scores are written 256 answers at a time: enough to be met in the middle
SETTINGS = {
    "prompts.n": str(N_PROMPTS),
    "draws.n": str(N_DRAWS),
    "draws.max_tokens": "48",
    "teach.eft": "320",
    "teach.ift": "8",
    "teach.writing": "160",
    "teach.lr": "4e-3",
    "objective.batch": "8",
}
N_TAUGHT = 61  # 488 rows in batches of 8; a checkpoint every 25 steps


def start(site, make_letters_project):
    project = make_letters_project(store=site.directory / "store", n_labelled=16)
    return loop_start(project=project, recipe="self-rewarding", settings=SETTINGS, n_rounds=1, seed=3)


def end(site, loop):
    def ended():
        loop.refresh_from_db()
        return loop.state not in (LoopState.QUEUED, LoopState.RUNNING)

    site.wait_for(ended, "the end of the loop", seconds=240)
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    assert not Job.objects.exclude(state=JobState.SUCCEEDED).exists()
    return outcome(loop)


def test_killed_while_taught_while_writing_and_while_scoring_it_ends_as_an_undisturbed_one(
    open_site, make_letters_project
):
    with open_site("undisturbed") as site:
        loop = start(site, make_letters_project)
        Workers(site)
        wanted = end(site, loop)

    with open_site("disturbed") as site:
        loop = start(site, make_letters_project)
        workers = Workers(site)
        taught = Metric.objects.filter(run__kind="sft")
        site.wait_for(lambda: taught.filter(step__gte=30).exists(), "the start to be taught", seconds=120)
        workers.kill()
        directory = site.directory / "store" / TrainingRun.objects.get(kind="sft").run_dir
        site.wait_for(lambda: not processes_of(directory), "the training process to follow its worker", seconds=10)
        assert taught.count() < N_TAUGHT, "killed too late to be in the middle of teaching"

        workers.start()
        writing = Job.objects.filter(kind=WRITING_JOB, state=JobState.RUNNING)
        site.wait_for(lambda: writing.exists(), "a policy to write prompts", seconds=120)
        workers.kill()
        assert not Prompt.objects.filter(prompt_set__name="self-instruct").exists(), "killed too late: it had written"

        workers.start()
        scores = Score.objects.filter(completion__run__purpose="loop")
        site.wait_for(lambda: scores.exists(), "the first scores", seconds=120)
        workers.kill()
        n_scored = scores.count()
        assert 0 < n_scored < 3 * N_PROMPTS * N_DRAWS, "killed too late to be in the middle of scoring"

        workers.start()
        made = end(site, loop)
        events = read_events(directory / "events.jsonl")[0]
        attempts = {job.kind: job.attempt for job in Job.objects.order_by("-id")}  # the first of each kind
        assert Loop.objects.count() == 1

    assert [event.step for event in events if event.type == "resume"] == [25]
    assert [step for kind, step, _ in made["metrics"] if kind == "sft"] == list(range(1, N_TAUGHT + 1))
    assert max(Counter(row[:-1] for row in made["scores"]).values()) == 1
    for key, value in wanted.items():
        assert made[key] == value, key
    assert (attempts["training.run"], attempts[WRITING_JOB], attempts["scoring.chunk"]) == (2, 2, 2)
