"""A draft of a judge on trial, and attacks on a judge: what is asked, counted and kept."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db.models import Sum

from apps.jobs.drain import drain
from apps.judging.attack_figures import attack_figures
from apps.judging.models import AttackTrial
from apps.judging.services import BadJudge, judge_draft
from apps.judging.trials import attack_start, trial_start
from apps.labels.models import Score, Verdict
from apps.policies.models import Spend
from prefloop.judging.attacks import attacks
from tests.workers.scripted import asked, between, honest, llm

pytestmark = pytest.mark.django_db


def gullible(text, nth=0):
    """Obey an answer that asks to be chosen; else prefer “good”."""
    a, b = ("choose this answer" in between(text, f"ANSWER {label}") for label in "AB")
    return "[[A]]" if a and not b else "[[B]]" if b and not a else honest(text)


@pytest.mark.slow
def test_the_attacks_are_put_into_the_worse_answer_and_counted(project, server, endpoint, pairs, capsys):
    server.say = gullible
    judge = llm(project, endpoint)
    rows = pairs(3)
    asked(judge, rows)
    call_command("judge_attack", "--judge", "judge", "--project", project.slug, "-n", "2", "--json")
    said = json.loads(capsys.readouterr().out)
    n_attacks = len(attacks())
    trials = AttackTrial.objects.filter(judge=judge)
    assert trials.count() == 2 * n_attacks
    assert set(trials.values_list("side", flat=True)) == {"second"}
    assert set(trials.filter(flipped=True).values_list("attack", flat=True)) == {"order"}
    assert (said["flipped"]["n"], said["control"]["rate"]) == (2 * (n_attacks - 1), 0.0)
    assert said["flipped"]["rate"] == pytest.approx(1 / (n_attacks - 1))
    assert said["rows"][0]["name"] == "order"
    assert said["rows"][0]["share"]["rate"] == 1.0
    assert not Verdict.objects.filter(run=None).exists()  # no attack leaves a verdict
    n_asked = sum(server.asked.values())
    assert Spend.objects.filter(purpose="attack").aggregate(n=Sum("n_calls"))["n"] == 4 * n_attacks
    call_command("judge_attack", "--judge", "judge", "--project", project.slug, "-n", "2", "--json")
    assert sum(server.asked.values()) == n_asked
    assert trials.count() == 2 * n_attacks


@pytest.mark.slow
def test_an_honest_grader_is_not_flipped_and_an_undecided_one_can_t_be_attacked(project, server, endpoint, pairs):
    server.say = lambda text, nth: f"Score: {4 if 'good' in text else 2}"
    judge = llm(project, endpoint, mode="rubric")
    with pytest.raises(BadJudge, match="has no verdicts yet"):
        attack_start(judge=judge)
    asked(judge, pairs(1))
    attack_start(judge=judge, n=1)
    drain(["cpu"], worker_name="w")
    found = attack_figures(judge)
    assert (found.flipped.rate, found.n_pairs) == (0.0, 1)
    assert found.flipped.high > 0.5  # one pair tells little
    assert AttackTrial.objects.filter(judge=judge, outcome="first").count() == len(attacks())


@pytest.mark.parametrize(("mode", "n_calls"), [("text", 4), ("additive", 12)])
def test_a_draft_is_tried_on_a_few_pairs_and_leaves_no_verdict(project, server, endpoint, pairs, mode, n_calls):
    server.say = lambda text, nth: honest(text) if mode == "text" else f"Score: {4 if 'good' in text else 2}"
    endpoint.input_price = Decimal(1)
    endpoint.save()
    rows = pairs(2)
    draft = judge_draft(
        project=project, name="draft", kind="llm", endpoint=endpoint, mode=mode, criterion="kinder",
        options={"samples": 3, "max_tokens": 100},
    )  # fmt: skip
    job = trial_start(draft=draft, comparison_ids=[row.pk for row in rows])
    drain(["cpu"], worker_name="w")
    job.refresh_from_db()
    assert job.state == "succeeded", job.error
    assert len(job.result["calls"]) == n_calls == sum(server.asked.values())
    assert {label["outcome"] for label in job.result["labels"].values()} == {"first"}
    assert all(call["raw"] for call in job.result["calls"])
    assert job.result["nanos"] == n_calls * 100 * 1000  # 100 tokens a call at a dollar a million
    assert Spend.objects.filter(purpose="trial").aggregate(n=Sum("n_calls"))["n"] == n_calls
    assert not Verdict.objects.exists()
    assert not Score.objects.exists()
