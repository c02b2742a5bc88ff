"""A run on a cluster, whose node and whose worker are killed in the middle, ends as a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
from itertools import takewhile
from pathlib import Path

import pytest

from apps.jobs.models import Job, JobEvent, JobState
from apps.training.loops.starting import loop_start
from apps.training.models import Loop, LoopState, Metric, TrainingRun
from prefloop.recipes.runspec import TEMPORARY
from tests.faults.outcome import outcome
from tests.faults.processes import Workers, processes_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("executors"),  # they share what an undisturbed run made
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

SETTINGS = {"objective.batch": "8", "objective.epochs": "100"}  # of two steps each; a checkpoint every 25 steps
N_STEPS = 200
SECRETS = {"SECRET_KEY": "a-canary-that-is-long-enough-for-django", "HF_TOKEN": "hf_another_canary"}
made_here = {}


def begin(site, make_letters_project):
    return loop_start(
        project=make_letters_project(store=site.directory / "store", n_labelled=16),
        recipe="dpo",
        settings=SETTINGS,
        seed=1,
    )


def end_of(site, loop):
    site.wait_for(lambda: Loop.objects.get().state not in (LoopState.QUEUED, LoopState.RUNNING), "its end", seconds=400)
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    site.wait_for(lambda: not Job.objects.exclude(state=JobState.SUCCEEDED).exists(), "the end of every job")
    return outcome(loop)


def undisturbed(open_site, make_letters_project):
    if not made_here:
        with open_site("undisturbed") as site:
            loop = begin(site, make_letters_project)
            Workers(site)
            made_here.update(end_of(site, loop))
    return made_here


def parents(pid):
    """The process and those that it descends from, up to the one that has none of ours above."""
    found = []
    while pid > 1:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def training(site):
    """The id of the process that trains, which the program of the node has started."""
    found = [pid for pid in processes_of(site.directory / "store") if "prefloop.engine.train" in words_of(pid)]
    return found[0] if found else None


def words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def steps():
    return Metric.objects.filter(run__kind="dpo").count()


def checkpoint(site):
    found = site.directory.glob("store/letters-test/runs/*/step-*")
    return next((path for path in found if TEMPORARY not in path.name), None)


def go_through_it(site, make_letters_project, lose_node, **env):
    """A loop whose node is lost after its first checkpoint, and its worker after the next one."""
    loop = begin(site, make_letters_project)
    workers = Workers(site, **SECRETS, **env)
    site.wait_for(lambda: training(site) and checkpoint(site), "a checkpoint", seconds=240)
    pid = training(site)
    for process in (pid, *parents(pid)[1:3]):
        said = Path(f"/proc/{process}/environ").read_text()
        assert not [value for value in SECRETS.values() if value in said], words_of(process)
    lose_node(pid)
    assert steps() < N_STEPS, "lost too late to be in the middle of training"

    lost = JobEvent.objects.filter(text__contains="was lost")
    site.wait_for(lost.exists, "the loss is seen", seconds=120)
    site.wait_for(lambda: training(site), "the run is taken up again", seconds=120)
    again = training(site)
    assert again != pid
    workers.kill()
    assert steps() < N_STEPS, "killed too late to be in the middle of training"
    workers.start()
    made = end_of(site, loop)

    assert training(site) is None
    assert list((site.directory / "places").iterdir()) == []
    run = TrainingRun.objects.get()
    told = (site.directory / "store" / run.run_dir / "events.jsonl").read_text().splitlines()
    assert next(json.loads(line)["step"] for line in told if '"resume"' in line) >= 25
    return made


def test_a_run_through_slurm_ends_as_one_here_though_its_node_and_its_worker_are_killed(
    open_site, make_letters_project
):
    wanted = undisturbed(open_site, make_letters_project)

    def lose_node(pid):
        """All that submitit's own executor has started: the controller, its task, the node's program and the run's."""
        # not the process of the test, whose title is this test's name
        started = takewhile(lambda one: one != os.getpid(), parents(pid))
        for process in reversed([one for one in started if "submitit" in words_of(one) or "node" in words_of(one)]):
            os.kill(process, signal.SIGKILL)

    with open_site("disturbed") as site:
        made = go_through_it(
            site, make_letters_project, lose_node, PREFLOOP_EXECUTOR="slurm", PREFLOOP_SLURM="cluster=local",
            PREFLOOP_CARDS="0",
        )  # fmt: skip
        assert JobEvent.objects.filter(kind="place", text__startswith="Slurm job ").count() >= 3
    for key, value in wanted.items():
        assert made[key] == value, key
