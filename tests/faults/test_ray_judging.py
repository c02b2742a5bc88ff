"""Hundreds of pairs judged by two engines on a Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from apps.jobs.models import Job, JobEvent, JobState
from apps.jobs.services import job_cancel
from apps.judging.services import COMPARISONS_PER_JOB, judge_create, judging_run_create
from apps.labels.models import Verdict
from apps.policies.services import checkpoint_import
from apps.samples.models import Comparison
from prefloop.model_sources import Directory
from tests.faults.processes import offspring, processes_of
from tests.faults.ray_nodes import ray_nodes
from workers.executors.placed import command_line

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("executors"),  # one cluster at a time
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

N_PAIRS = 520
# as short as a template may be: every fence costs this tokenizer fifty tokens a line
TEMPLATE = (
    "[system]\nWhich letter is better?\n[user]\n{{criterion}}\n{{prompt}}\n{{first_shown}}\n{{second_shown}}\nBetter:"
)
ROOM = 1024  # tokens: two letters and eight fences are up to 554


def wide_policy(letters_policy_dir, directory):
    """The letters policy, told that it may read long prompts. It is no judge, and need not be one."""
    from prefloop.policy.loading import load_policy, save_model

    policy = load_policy(letters_policy_dir)
    policy.model.config.max_position_embeddings = policy.tokenizer.model_max_length = ROOM
    save_model(policy.model, policy.tokenizer, directory)
    return directory


def engines_at(process):
    """The engines that are answering a piece below this process, by the titles that Ray gives its actors."""
    found = []
    for pid in [process.pid, *offspring(process.pid)]:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if "MapWorker" in title:
            found.append((pid, "submit" in title))
    return found


SERVES = """
import os, subprocess, sys, time
import ray
from prefloop.bulk.run import ACTORS
from prefloop.policy.vllm_server import GUARD

class Engine:
    def serve(self, name):
        subprocess.Popen([sys.executable, "-I", GUARD, str(os.getpid()), *name.split()], start_new_session=True)

ray.init()
engine = ray.remote(Engine).options(num_cpus=0, runtime_env=ACTORS).remote()
ray.get(engine.serve.remote(sys.argv[1]))
time.sleep(2)
"""
SERVER = "sleep 98765.125"


def servers():
    return processes_of(SERVER.replace(" ", "\0"))


def a_server_ends_with_its_actor(site, nodes):
    client = JobSubmissionClient(nodes.address)
    job = client.submit_job(entrypoint=command_line([sys.executable, "-c", SERVES, SERVER]))
    site.wait_for(servers, "a server below an actor", seconds=60)
    site.wait_for(lambda: client.get_job_status(job).is_terminal(), "the end of its program", seconds=60)
    site.wait_for(lambda: not servers(), "the end of the server", seconds=20)


def test_every_verdict_once_though_a_node_is_killed_and_a_cancelled_run_leaves_no_engine(
    open_site, make_letters_project, letters_policy_dir, settings, tmp_path
):
    settings.EXECUTOR, settings.BULK_FROM = "ray", N_PAIRS
    wide = wide_policy(letters_policy_dir, tmp_path / "wide")
    with open_site("site") as site, ray_nodes(cores=2) as nodes:  # for the program that gives out pieces, and an engine
        project = make_letters_project(store=site.directory / "store", n_labelled=N_PAIRS)
        checkpoint = checkpoint_import(project=project, name="wide", role="policy", source=Directory(wide))
        ids = list(Comparison.objects.filter(project=project, held_out=False).values_list("id", flat=True))
        assert len(ids) == N_PAIRS > 2 * COMPARISONS_PER_JOB

        def judged(name):
            judge = judge_create(
                project=project,
                name=name,
                kind="policy",
                mode="logprob",
                order_policy="average",
                criterion="Kind and correct.",
                template=TEMPLATE,
                checkpoint=checkpoint,
                options={"engine": "transformers"},
            )
            run = judging_run_create(project=project, judge=judge, comparison_ids=ids)
            (job,) = run.group.jobs.all()
            return Verdict.objects.filter(judge=judge), job

        site.worker(
            queue="gpu", PREFLOOP_EXECUTOR="ray", PREFLOOP_RAY_ADDRESS=nodes.address, PREFLOOP_CARDS="0",
            PREFLOOP_RAY_ENGINES="2",
        )  # fmt: skip
        verdicts, job = judged("one")
        head = nodes.processes[0]
        site.wait_for(lambda: engines_at(head), "an engine on the head", seconds=240)
        nodes.add()
        other = nodes.processes[-1]
        site.wait_for(lambda: any(busy for _, busy in engines_at(other)), "an engine that answers", seconds=240)
        nodes.lose_newest()
        assert verdicts.count() < 2 * N_PAIRS, "lost too late to be in the middle"
        site.wait_for(lambda: Job.objects.get(pk=job.pk).state != JobState.RUNNING, "the end of the run", seconds=400)
        job.refresh_from_db()
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)  # the loss was Ray's affair alone
        assert verdicts.count() == 2 * N_PAIRS
        assert set(verdicts.values_list("comparison_id", "order", "sample")) == {
            (pk, order, 0) for pk in ids for order in ("01", "10")
        }
        assert set(verdicts.values_list("state", flat=True)) <= {"ok", "unparseable"}
        assert "engines answered" in JobEvent.objects.get(job=job, kind="engines").text

        verdicts, job = judged("two")
        site.wait_for(verdicts.exists, "the first verdicts of another judge", seconds=240)
        job_cancel(job=job, by=None)
        site.wait_for(lambda: Job.objects.get(pk=job.pk).state == JobState.CANCELLED, "its end", seconds=120)
        site.wait_for(lambda: not engines_at(head), "no engine is left", seconds=60)
        assert 0 < verdicts.count() < 2 * N_PAIRS
        assert list((site.directory / "places").iterdir()) == []
        assert list((site.directory / "bulk").iterdir()) == []
        a_server_ends_with_its_actor(site, nodes)
