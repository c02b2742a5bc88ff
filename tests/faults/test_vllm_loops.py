"""Loops of a letters policy that a real vLLM server samples: a round, evaluations, and steps, by one server.

What it says of its answers is held against our own engine's log-probs of the same tokens.
"""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command

from apps.policies.services import checkpoint_import, checkpoint_make_default
from apps.policies.store import store_path
from apps.samples.models import Completion, SamplingRun
from apps.training.models import Loop, Metric, TrainingRun
from prefloop.model_sources import Directory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.xdist_group("vllm"),
    pytest.mark.timeout(1200),
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not django_settings.VLLM_PYTHON, reason="vllm: not installed (make vllm)"),
]
SMALL = ("prompts.n=6", "draws.max_tokens=24", "objective.batch=2", "draws.engine=vllm")


@pytest.fixture
def project(make_letters_project, settings, tmp_path):
    """Its policy is of the size `full`: the tiny one has heads of 16 dimensions, which vLLM has no CPU kernel for."""
    from prefloop.worlds.letters.sft import train_sft

    settings.WORKER_THREADS, settings.VAR_DIR = 1, tmp_path / "var"
    project = make_letters_project("letters", n_train=8, n_eval=3, n_labelled=12)
    train_sft(tmp_path / "letters", size="full", n_letters=160, threads=1)
    made = checkpoint_import(project=project, name="letters", role="policy", source=Directory(tmp_path / "letters"))
    checkpoint_make_default(checkpoint=made)
    return project


@pytest.fixture
def starts(monkeypatch):
    """How often a server was started; the one that runs is stopped in the end."""
    from workers import vllm_servers

    made = []
    start = vllm_servers._start
    monkeypatch.setattr(vllm_servers, "_start", lambda *a, **k: made.append(1) or start(*a, **k))
    yield made
    vllm_servers.stop()


def run(recipe, *settings):
    out = StringIO()
    words = [word for one in (*SMALL, *settings) for word in ("--set", one)]
    call_command("run_recipe", recipe, "--project", "letters", "--rounds", 1, "--json", *words, stdout=out)
    return json.loads(out.getvalue())["rounds"]


def ours(checkpoint, completions):
    """The log-probs that our own engine gives a checkpoint's stored answers."""
    from prefloop.policy.batches import PackItem
    from prefloop.policy.loading import load_policy
    from prefloop.policy.prompts import encode_prompt
    from prefloop.policy.scoring import score_groups

    policy = load_policy(store_path(checkpoint.path))
    items = [PackItem(encode_prompt(policy.tokenizer, one.prompt.text), (tuple(one.token_ids),)) for one in completions]
    return [float(value) for row in score_groups(policy, items) for value in row]


def test_a_round_its_evaluations_and_an_on_policy_run_are_sampled_by_one_server(project, starts):
    """2e-3 nats an answer of up to 24 tokens: two programs sum in fp32 in other orders."""
    rounds = run("iterative-dpo", "draws.n=2")
    assert [row["win_rate_vs_initial"] is not None for row in rounds] == [True, True]
    steps = run("oaif-dpo")
    assert len(steps) == 2

    runs = SamplingRun.objects.order_by("id").select_related("checkpoint")
    assert {(one.engine, one.engine_why) for one in runs if one.purpose == "loop" and not one.group_id} == {
        ("vllm", "as it was set")
    }
    assert {one.engine for one in runs} == {"vllm"}
    assert sum(one.purpose == "evaluation" for one in runs) == 3  # the start, and what each loop made
    for one in runs:
        rows = list(Completion.objects.filter(run=one).select_related("prompt").order_by("prompt_id", "index"))
        assert rows
        if one.group_id or one.purpose == "evaluation":  # one policy's answers, before any step moved it
            told = [row.logp_sum for row in rows]
            assert told == pytest.approx(ours(one.checkpoint, rows), abs=2e-3), one.purpose
    assert len(starts) == 1

    stepwise = TrainingRun.objects.get(kind="online")
    values = [row.values for row in Metric.objects.filter(run=stepwise).order_by("step")]
    assert len(values) == 3  # 6 prompts, 2 a step
    assert Loop.objects.filter(state="done").count() == 2
