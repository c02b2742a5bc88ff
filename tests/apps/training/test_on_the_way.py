"""Policies that are measured on the way, inside a round's training: each once, like the round's result."""

from __future__ import annotations

import pytest

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobFailure
from apps.labels.models import JudgingRun
from apps.policies.store import store_path
from apps.reports.frontier import frontier_report, points_of
from apps.training.lineage.cards import checkpoint_card
from apps.training.lineage.measured import measured_of
from apps.training.lineage.selectors import curves_since, loop_rows
from apps.training.loops.forecast import forecast
from apps.training.loops.steering import loop_resume
from apps.training.models import KeptStep, LoopState, TrainingRun
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.runspec import read_spec

pytestmark = pytest.mark.django_db
EVERY = {"evaluation.every": "1"}
RECIPES = {"iterative-dpo": 2, "rest": 1, "online-ipo": 2}  # with so many rounds
SMALL = {
    "iterative-dpo": {},
    "rest": {"filter.thresholds": "0.1,0.5"},  # of so few answers none passes a higher one
    "online-ipo": {"draws.n": "2"},
}


def measuring(fakes):
    return [kind for kind in fakes.calls if kind in ("training.run", "evaluation.kept", "evaluation.run")]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_kept_policy_is_measured_once_before_the_round_s_result(start, drive, fakes, recipe):
    loop = start(recipe, n_rounds=RECIPES[recipe], **EVERY, **SMALL[recipe])
    drive()
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    runs = list(TrainingRun.objects.filter(round__loop=loop).order_by("id"))
    assert [read_spec(store_path(run.run_dir)).keep_every for run in runs] == [1] * len(runs)
    assert [(kept.run_id, kept.step) for kept in KeptStep.objects.order_by("id")] == [(run.pk, 1) for run in runs]
    a_round = ["training.run"] * (len(runs) // RECIPES[recipe])
    a_round += ["evaluation.kept"] * len(a_round) + ["evaluation.run"]
    assert measuring(fakes) == ["evaluation.run", *a_round * RECIPES[recipe]]


@pytest.mark.slow
def test_its_figures_stand_where_a_round_s_do(start, drive, loop_project, client_for, bob):
    loop = start(n_rounds=2, **EVERY)
    drive()
    first, second = KeptStep.objects.order_by("id")
    rows = loop_rows(loop)
    assert [len(row.get("on_the_way", ())) for row in rows] == [0, 1, 1]
    (row,) = rows[1]["on_the_way"]
    assert (row["round"], row["step"], row["n_steps"], row["kl"]) == (1, 1, 2, 0.05)
    assert row["checkpoint"] == first.checkpoint.name == f"iterative-dpo-{loop.pk}-round-1-at-1"
    assert [point["round"] for point in curves_since(loop, "")["rounds"]] == [0, 0.5, 1, 1.5, 2]
    (group,) = frontier_report(project=loop_project)["groups"]
    assert [(point["round"], point["step"]) for point in points_of(group)] == [
        (0, None), (1, 1), (1, None), (2, 1), (2, None),
    ]  # fmt: skip
    assert measured_of(loop_project)[second.checkpoint_id].figure("kl").value == 0.05
    card = checkpoint_card(first.checkpoint)
    assert (card.loop, card.snapshot, len(card.measured)) == (loop, first.run.snapshot, 1)
    page = client_for(bob).get(f"/p/{loop_project.slug}/reports/frontier/").content.decode()
    assert page.count("step 1<") == 2
    assert "round 1, step 1" in page


@pytest.mark.slow
def test_a_judge_is_asked_of_each_and_a_loop_that_is_resumed_measures_none_again(start, drive, fakes, make_judge):
    fakes.asks = True
    loop = start("iterative-dpo", n_rounds=1, **EVERY)
    for kind in ("evaluation.kept", "judging.chunk", "evaluation.run"):
        fakes.fail[kind] = JobFailure(FailureClass.OUT_OF_MEMORY, "3 GiB asked for, 2 GiB left")
    for _ in range(3):
        drive()
        loop.refresh_from_db()
        assert loop.state == LoopState.FAILED
        loop_resume(loop=loop, by=None)
    drive()
    loop.refresh_from_db()
    assert (loop.state, loop.error) == (LoopState.DONE, "")
    assert measuring(fakes).count("evaluation.kept") == 2  # one of them failed
    kept = KeptStep.objects.get()
    assert JudgingRun.objects.filter(purpose="evaluation").count() == 2  # the kept policy's and the result's
    assert kept.evaluation["judging_run"] is not None
    assert kept.ended_at is not None
    assert kept.result["win_rate_vs_initial"] == loop_rows(loop)[1]["win_rate_vs_initial"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_forecast_counts_them(loop_project, recipe):
    def seen(**settings):
        made = apply_settings(get_recipe(recipe), {"prompts.n": "4", "objective.batch": "1"} | settings)
        return forecast(project=loop_project, recipe=made, n_rounds=1)

    off, on = seen(), seen(**{"evaluation.every": "2"})
    trainings = get_recipe(recipe).filter.n_steps
    assert off.kept == 0
    assert on.steps == off.steps
    # of each training's steps every second one but the last
    assert 0 < on.kept <= on.steps // 2
    if trainings == 1:
        assert on.kept == (on.steps - 1) // 2
    assert on.checkpoints == off.checkpoints + on.kept
    a_measurement = loop_project.prompts.filter(split="eval").count() * 4
    assert on.evaluation_answers == off.evaluation_answers + on.kept * a_measurement


def test_what_measures_no_policy_keeps_none():
    for name in ("reward-model", "best-of-n"):
        assert get_recipe(name).keep_every == 0
        assert "evaluation" in get_recipe(name).hidden()
