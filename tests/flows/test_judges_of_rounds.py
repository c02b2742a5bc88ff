"""Rounds whose answers a language model scores: by grades, or by the tournament of one that only compares."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command

from apps.judging.services import judge_create
from apps.labels.models import Judge, Preference, Score, Verdict
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.samples.models import Comparison
from apps.training.models import Loop, SnapshotItem, TrainingRun

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SMALL = {"prompts.n": "4", "draws.n": "3", "draws.max_tokens": "16", "objective.batch": "4", "objective.epochs": "1"}


@pytest.fixture
def letters(make_letters_project):
    return make_letters_project(n_train=8, n_eval=2, n_labelled=4)


def _judge(project, mode, order_policy="both_agree"):
    endpoint = endpoint_create(
        project=project, name="sim", base_url=f"{SIMULATED_SCHEME}letters", model="simulated", is_simulated=True
    )
    return judge_create(
        project=project,
        name="reader",
        kind="llm",
        endpoint=endpoint,
        criterion="Kind and correct.",
        mode=mode,
        order_policy=order_policy,
        options={"samples": 1} if mode == "additive" else {},
        is_simulated=True,
    )


def _run(project, recipe):
    out = io.StringIO()
    chosen = [f"--set={key}={value}" for key, value in {**SMALL, "score.judge": "reader"}.items()]
    call_command("run_recipe", recipe, "--project", project.slug, "--rounds", "1", "--json", *chosen, stdout=out)
    return json.loads(out.getvalue())


def test_a_judge_that_only_compares_scores_a_round_through_its_tournament(letters):
    judge = _judge(letters, "text", "average")
    said = _run(letters, "iterative-dpo")
    loop = Loop.objects.get(project=letters)
    round_ = loop.rounds.get(index=1)
    scores = Score.objects.filter(judge=judge, completion__run=round_.sampling_run)
    assert scores.count() == 4 * 3
    # both orders of each pair were asked, once
    games = Verdict.objects.filter(judge=judge).exclude(order="")
    compared = Comparison.objects.filter(first__run=round_.sampling_run)
    assert {verdict.order for verdict in games} == {"01", "10"}
    assert games.values("comparison", "order", "sample").distinct().count() == games.count() == 2 * compared.count()
    # what trains is what the pairing chose, not every game
    own = set(compared.filter(origin=f"loop:{loop.pk}:1").values_list("id", flat=True))
    trained = set(
        SnapshotItem.objects.filter(
            snapshot__in=TrainingRun.objects.filter(round=round_).values("snapshot")
        ).values_list("comparison_id", flat=True)
    )
    assert trained <= own
    assert len(own) <= 4 < compared.count()
    assert said["rounds"][1]["n_pairs"] == len(trained) > 0


def test_a_judge_that_grades_scores_a_round(letters):
    judge = _judge(letters, "additive")
    said = _run(letters, "iterative-dpo")
    assert Score.objects.filter(judge=judge, state="ok").count() > 0
    assert not Verdict.objects.filter(judge=judge).exclude(p_first=None).exists()  # points are no probabilities
    assert said["rounds"][1]["n_pairs"] > 0


def test_a_project_without_verdicts_has_its_judge_asked_before_its_reward_model_is_made(letters):
    Verdict.objects.all().delete()
    Preference.objects.all().delete()
    out = io.StringIO()
    chosen = {"prompts.n": "4", "draws.max_tokens": "12", "objective.batch": "4", "objective.epochs": "1"}
    words = [f"--set={key}={value}" for key, value in chosen.items()]
    call_command("run_recipe", "rlaif", "--project", letters.slug, "--rounds", "1", "--json", *words, stdout=out)
    assert len(json.loads(out.getvalue())["rounds"]) == 2
    round_ = Loop.objects.get(project=letters).rounds.get(index=0)
    trainable = Comparison.objects.filter(project=letters, held_out=False).exclude(origin__startswith="loop:")
    assert sorted(round_.judging_run.comparison_ids) == sorted(trainable.values_list("id", flat=True))
    run = TrainingRun.objects.get(round=round_, kind="reward-model")
    assert run.snapshot.n_pairs > 0
    assert Judge.objects.get(project=letters, name="ai-reward-model").checkpoint == run.output


def test_a_judge_that_grades_labels_inside_a_step(letters):
    judge = _judge(letters, "additive")
    chosen = {"prompts.n": "4", "draws.max_tokens": "12", "objective.batch": "4", "objective.epochs": "1"}
    words = [f"--set={key}={value}" for key, value in {**chosen, "label.judge": "reader"}.items()]
    out = io.StringIO()
    call_command("run_recipe", "oaif-dpo", "--project", letters.slug, "--rounds", "1", "--json", *words, stdout=out)
    said = Verdict.objects.filter(judge=judge)
    assert 0 < said.count() <= 4
    # a verdict tells both grades, and comes of two replies
    assert all(verdict.raw.lower().count("score") >= 2 for verdict in said.filter(state="ok"))
    assert json.loads(out.getvalue())["rounds"][1]["n_samples"] == 8
