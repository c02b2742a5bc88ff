"""Answers that stopped at their longest length: trained on as they are, or left out where the recipe says so."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from apps.labels.models import Score
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.samples.models import Completion
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_start
from apps.training.models import TrainingRun
from prefloop.config import ConfigError, apply_settings
from prefloop.recipes.catalogue import get_recipe

LEAVE_OUT = {"filter.cut_answers": "leave-out"}


@pytest.fixture
def with_labels(loop_project, make_comparison, make_vote):
    """A voted pair of stored answers for each training prompt; of every second one the better answer was cut."""
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")):
        row = make_comparison(loop_project, (f"Thank you {number}", f"No {number}"), prompt=prompt)
        Completion.objects.filter(pk=row.first_id).update(finished=number % 2 == 0)
        make_vote(row, "first")
    preferences_derive(project=loop_project, now=timezone.now())
    return loop_project


def rows_of(loop):
    run = TrainingRun.objects.filter(round__loop=loop).latest("pk")
    return [json.loads(line) for line in store_path(run.snapshot.path).read_text("utf-8").splitlines()]


def texts_of(row):
    return [row[key] for key in ("first", "second", "completion") if key in row] + row.get("completions", [])


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("recipe", ["dpo", "sft", "kto", "rs-ft", "iterative-dpo", "rrhf", "spin", "gkd"])
def test_answers_that_were_cut_are_left_out_where_the_recipe_says_so(drive, with_labels, recipe):
    settings = {"gkd": {"objective.reference": "checkpoint:start", "objective.lambda": 1.0}}.get(recipe, {})
    cut = lambda: set(Completion.objects.filter(finished=False).values_list("text", flat=True))  # noqa: E731
    told = {}
    for name, more in (("keep", {}), ("leave-out", LEAVE_OUT)):
        loop = loop_start(project=with_labels, recipe=recipe, settings=settings | more, n_rounds=1)
        drive()
        loop.refresh_from_db()
        assert not loop.error, loop.error
        told[name] = [text for row in rows_of(loop) for text in texts_of(row)]
    assert cut() & set(told["keep"])
    assert told["leave-out"]
    assert not cut() & set(told["leave-out"])


@pytest.mark.slow
@pytest.mark.django_db
def test_a_cut_answer_without_ids_is_marked_so_that_it_gets_no_end(drive, with_labels):
    loop = loop_start(project=with_labels, recipe="dpo", n_rounds=1)
    drive()
    assert [row.get("first_cut", False) for row in rows_of(loop)] == [False, True] * 3
    assert not any(row.get("second_cut") for row in rows_of(loop))


@pytest.mark.slow
@pytest.mark.django_db
def test_a_flagged_answer_that_was_cut_gets_no_end_or_is_left_out(drive, loop_project, make_judge):
    judge = make_judge(loop_project, "dataset", order_policy="random")
    for number, prompt in enumerate(loop_project.prompts.filter(split="train").order_by("id")):
        answer = Completion.objects.create(
            project=loop_project, prompt=prompt, index=0, text=f"Thanks {number}", finished=number % 2 == 0
        )
        Score.objects.create(judge=judge, completion=answer, value=1.0, flag=True)
    for settings, expected in (({}, [False, True] * 3), (LEAVE_OUT, [False] * 3)):
        loop = loop_start(project=loop_project, recipe="kto", settings=settings, n_rounds=1)
        drive()
        assert [row.get("cut", False) for row in rows_of(loop)] == expected


@pytest.mark.slow
@pytest.mark.django_db
def test_the_forecast_counts_what_is_left(with_labels):
    both = [
        forecast(project=with_labels, recipe=apply_settings(get_recipe("dpo"), settings), n_rounds=1).rows
        for settings in ({}, LEAVE_OUT)
    ]
    assert both == [6, 3]


def test_a_step_trains_on_every_answer():
    with pytest.raises(ConfigError, match="every answer of a step is trained on"):
        apply_settings(get_recipe("grpo"), LEAVE_OUT)
