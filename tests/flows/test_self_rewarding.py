"""Self-rewarding on a small letters world, all of it real: taught, written, scored by itself, trained, measured."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command

from apps.jobs.models import Job
from apps.labels.models import Judge, Score, Verdict
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.samples.models import Comparison
from apps.training.models import Loop, TrainingRun
from prefloop.judging.parse import parse_score
from prefloop.recipes.self_instruct import rouge_l
from prefloop.recipes.snapshots import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SMALL = {
    "prompts.n": "32",
    "draws.max_tokens": "48",
    "teach.eft": "320",
    "teach.ift": "8",
    "teach.writing": "160",
    "teach.lr": "4e-3",
    "objective.batch": "8",
}


def run_recipe(**settings):
    words = [word for key, value in (SMALL | settings).items() for word in ("--set", f"{key}={value}")]
    out = io.StringIO()
    call_command(
        "run_recipe",
        "self-rewarding",
        "--project",
        "letters-test",
        "--rounds",
        1,
        "--seed",
        "3",
        "--json",
        *words,
        stdout=out,
    )
    return json.loads(out.getvalue())["rounds"]


def repeatable(rows):
    return [{key: value for key, value in row.items() if key not in ("seconds", "checkpoint")} for row in rows]


def test_a_round_goes_from_a_taught_start_to_a_policy_that_judged_itself(make_letters_project):
    project = make_letters_project(n_labelled=16)
    start, end = rows = run_recipe()
    loop = Loop.objects.get()
    assert Job.objects.exclude(state="succeeded").count() == 0
    m1, m2 = (Checkpoint.objects.get(name=row["checkpoint"]) for row in rows)
    assert (m1.parent.name, m1.recipe) == ("tiny", "sft")
    assert (m2.parent, m2.recipe) == (m1, "self-rewarding")
    assert start["kl"] == 0 < end["kl"]
    assert start["win_rate_vs_initial"] == 0.5

    # M1 learned judgements over training prompts alone, each of which the parser reads
    made = TrainingRun.objects.get(round__index=0)
    taught = read_rows(store_path(made.snapshot.path), "demonstrations")
    held_out = list(project.prompts.filter(split="eval").values_list("text", flat=True))
    assert made.snapshot.sources == {"ift": 8, "eft": 320, "prompt-writing": 160}
    assert not any(text in row.prompt + row.completion for row in taught for text in held_out)
    assert {parse_score(row.completion).value for row in taught if row.source == "eft"} == set(range(6))

    # it wrote new prompts, none of them like one that was there, an evaluation prompt included
    written = list(Prompt.objects.filter(prompt_set__name="self-instruct"))
    assert 16 <= len(written) <= 32
    assert end["n_samples"] == 4 * len(written)
    there = project.prompts.exclude(prompt_set__name="self-instruct").values_list("text", flat=True)
    assert max(rouge_l(one.text, text) for one in written for text in there) < 0.95
    assert {one.metadata["writer"] for one in written} == {m1.name}

    # its own scores, three an answer, decide which answer is better; what could not be read is no score
    judge = Judge.objects.get(kind="policy", checkpoint=m1)
    scores = Score.objects.filter(judge=judge, completion__run=loop.rounds.get(index=1).sampling_run)
    assert scores.count() == 3 * end["n_samples"]
    for score in scores:
        read = parse_score(score.raw).value
        assert score.value == read or (score.state == "unparseable" and score.value is None)
    pairs = Comparison.objects.filter(origin=f"loop:{loop.pk}:1")
    assert 0 < end["n_pairs"] == pairs.count() == Verdict.objects.filter(judge=judge, comparison__in=pairs).count()
    for comparison in pairs:
        means = [mean_of(scores, row) for row in (comparison.first, comparison.second)]
        said = Verdict.objects.get(judge=judge, comparison=comparison).outcome
        assert said == ("first" if means[0] > means[1] else "second")

    # as judges both are measured on the same held-out pairs, and their verdicts are stored
    for row, checkpoint in zip(rows, (m1, m2), strict=True):
        assert 0 <= row["judge_accuracy"] <= 1
        assert set(row["judge_accuracy_by"]) == {"gold", "eft"}
        verdicts = Verdict.objects.filter(judge__checkpoint=checkpoint, comparison__held_out=True)
        assert verdicts.count() == Comparison.objects.filter(held_out=True).count() == 4

    # the same seed again: the same M1 is taken, the same prompts and the same numbers follow
    assert repeatable(run_recipe()) == repeatable(rows)
    assert TrainingRun.objects.filter(round__index=0).count() == 1
    assert Prompt.objects.filter(prompt_set__name="self-instruct").count() == len(written)


def mean_of(scores, completion):
    values = [score.value for score in scores if score.completion_id == completion.pk and score.value is not None]
    return sum(values) / len(values)
