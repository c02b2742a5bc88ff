"""A real vLLM server under a real worker: killed mid-sampling nothing is doubled, and none outlives its worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from apps.jobs.models import Job, JobState
from apps.policies.services import checkpoint_import
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.services import NewPrompt, prompts_add
from apps.samples.models import Completion
from apps.samples.services import sampling_run_create
from prefloop.model_sources import Directory

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.xdist_group("vllm"), pytest.mark.timeout(1200)]
N = 400  # answers a prompt: more than are drawn before the kills


def group_of(marker: str) -> set[int]:
    """The process groups in which a process with this text in its command line runs."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.add(os.getpgid(int(entry.name)))
            except OSError:
                continue
    return found


def members(groups: set[int]) -> list[int]:
    """Living processes of these groups, by whatever name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) in groups and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not django_settings.VLLM_PYTHON, reason="vllm: not installed (make vllm)")
def test_a_killed_server_doubles_nothing_and_a_killed_worker_leaves_none(site, settings, tmp_path):
    from tests.prefloop.tiny import save_tiny_policy

    settings.STORE_DIR = site.directory / "store"
    project = Project.objects.create(slug="vllm", name="vLLM")
    source = save_tiny_policy(tmp_path / "tiny", hidden_size=64, heads=2, kv_heads=1)  # heads of 32 dimensions
    checkpoint = checkpoint_import(project=project, name="tiny", role="policy", source=Directory(source))
    prompts_add(project=project, set_name="main", prompts=[NewPrompt(text="Say hello.", external_id="hello")])
    ids = list(Prompt.objects.filter(project=project).values_list("id", flat=True))
    run = sampling_run_create(
        project=project, checkpoint=checkpoint, engine="vllm", prompt_ids=ids, n=N, max_tokens=200
    )
    job = Job.objects.get(kind="sampling.chunk")
    worker = site.worker(queue="gpu", PREFLOOP_VLLM_PYTHON=django_settings.VLLM_PYTHON)
    marker = str(settings.STORE_DIR)  # stands in the server's command line, and in nobody else's

    def n_stored():
        return Completion.objects.filter(run=run).count()

    site.wait_for(lambda: n_stored() > 0, "the first answers", seconds=500)
    first = group_of(marker)
    assert len(first) == 1
    for pid in members(first):
        if pid not in first:  # everything but the guard: that ends by itself
            os.kill(pid, signal.SIGKILL)
    kept = set(Completion.objects.filter(run=run).values_list("pk", "index"))
    assert len(kept) < N
    site.wait_for(lambda: n_stored() > len(kept) + 64, "the second attempt's answers", seconds=500)
    job.refresh_from_db()
    assert (job.attempt, job.state) == (2, JobState.RUNNING)
    assert not members(first)
    rows = list(Completion.objects.filter(run=run).values_list("pk", "index"))
    assert kept <= set(rows)
    assert len({index for _, index in rows}) == len(rows)

    second = group_of(marker)
    assert len(second) == 1
    assert second != first
    os.kill(int(job.worker.split(":")[1]), signal.SIGKILL)  # the child that owns the server
    os.killpg(worker.pid, signal.SIGKILL)
    site.wait_for(lambda: not members(second), "the server to end", seconds=30)
