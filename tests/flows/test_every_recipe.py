"""Every offline and round-by-round recipe, once, tiny: from a seeded letters project to a policy and its row."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from apps.jobs.models import Job
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_bytes
from apps.policies.store import store_path
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.loops.forecast import forecast
from apps.training.models import Loop, Round, TrainingRun
from prefloop.config import apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.runspec import read_spec
from prefloop.recipes.snapshots import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ELSEWHERE = {  # in test_run_recipe.py, and in test_self_rewarding.py
    "sft",
    "reward-model",
    "best-of-n",
    "dpo",
    "iterative-dpo",
    "self-rewarding",
}
NAMES = [  # tandem recipes are in test_stepwise.py, with the online loop that they replay
    name
    for name, recipe in CATALOGUE.items()
    if recipe.group != "online" and name not in ELSEWHERE and not name.startswith("tandem")
]


@pytest.fixture
def letters(make_letters_project):
    return make_letters_project(n_labelled=16)


def chosen_for(name, settings):
    chosen = {"prompts.n": "16", "draws.n": "4", "draws.max_tokens": "24", "objective.batch": "8"}
    keys = {info.key for info in describe(CATALOGUE[name])}
    if name in ("spin", "gkd"):
        chosen["draws.n"] = "1"
    if "score.judge" in keys:
        chosen["score.judge"] = "world-preference"  # the world scores: no reward model to be made first
    return {key: value for key, value in chosen.items() if key in keys} | settings


def run_recipe(name, *, rounds=1, **settings):
    chosen = chosen_for(name, settings)
    words = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    out = io.StringIO()
    call_command(
        "run_recipe", name, "--project", "letters-test", "--rounds", rounds, "--seed", "7", "--json", *words, stdout=out
    )
    return json.loads(out.getvalue())["rounds"]


def snapshots():
    """The training sets of the newest loop, oldest first, with the reader of their rows."""
    runs = TrainingRun.objects.filter(round__loop=Loop.objects.latest("pk")).order_by("id").select_related("snapshot")
    rows = CATALOGUE[Loop.objects.latest("pk").recipe].objective.rows
    return [read_rows(store_path(run.snapshot.path), rows) for run in runs]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_goes_from_a_seeded_project_to_a_measured_policy(letters, name):
    if name == "gkd":
        run_recipe("dpo", **{"objective.lr": "1e-3"})  # somebody to learn from
    seen = forecast(project=letters, recipe=apply_settings(CATALOGUE[name], chosen_for(name, {})), n_rounds=1)
    start, end = run_recipe(name)
    assert start["kl"] == 0
    assert start["checkpoint"] == "tiny"
    assert end["kl"] > 0
    assert end["n_pairs"] > 0
    made = Checkpoint.objects.get(name=end["checkpoint"])
    assert (made.recipe, made.role) == (name, "policy")
    assert Job.objects.exclude(state="succeeded").count() == 0
    held_out = set(letters.prompts.filter(split="eval").values_list("text", flat=True))
    assert held_out
    for rows in snapshots():
        assert not held_out & {row.prompt for row in rows}
    look_at_the_forecast(seen)
    LOOKS.get(name, lambda end: None)(end)


def look_at_the_forecast(seen):
    """What was foreseen is what was used: answers exactly, rows and steps but for answers and labels that coincide."""
    loop = Loop.objects.latest("pk")
    runs = TrainingRun.objects.filter(round__loop=loop, round__index__gt=0).select_related("snapshot", "output")
    assert seen.answers == Completion.objects.filter(run__round__loop=loop).count()
    rows, steps = sum(run.snapshot.n_pairs for run in runs), sum(run.n_steps for run in runs)
    assert 0.25 * seen.rows <= rows <= seen.rows
    assert 0.25 * seen.steps <= steps <= seen.steps
    made = [checkpoint_bytes(run.output) for run in runs]
    assert sum(made) == pytest.approx(seen.bytes, rel=0.02)
    evaluations = SamplingRun.objects.filter(purpose="evaluation").order_by("id")
    newest = [evaluations.filter(checkpoint=round_.output_id).last() for round_ in loop.rounds.all()]
    assert sum(run.completions.count() for run in newest) == seen.evaluation_answers


def look_at_rest(end):
    first, second, third = TrainingRun.objects.filter(round__index=1).order_by("id")
    assert [run.start.name for run in (first, second, third)] == ["tiny", first.output.name, second.output.name]
    assert end["checkpoint"] == third.output.name
    rates = [
        json.loads((store_path(run.run_dir) / "spec.json").read_text())["objective"]["lr"]
        for run in (first, second, third)
    ]
    assert rates == [rates[0], rates[0] / 2, rates[0] / 4]
    texts = [{(row.prompt, row.completion) for row in rows} for rows in snapshots()]
    assert texts[0] > texts[1] > texts[2]  # thresholds rise over the same answers


def look_at_rs_ft(end):
    from prefloop.worlds.letters.utility import utility

    (rows,) = snapshots()
    assert len(rows) == len({row.prompt for row in rows}) == 16
    for row in rows:  # the best of what was drawn, by the world itself
        drawn = Completion.objects.filter(run__round__index=1, prompt__text=row.prompt)
        assert utility(row.prompt, row.completion) == max(utility(row.prompt, one.text) for one in drawn)


def look_at_spin(end):
    (rows,) = snapshots()
    for row in rows:
        comparison = Comparison.objects.get(pk=int(row.id.split(":")[1]))
        real = comparison.first if row.p_first == 1.0 else comparison.second
        assert row.p_first in (0.0, 1.0)
        assert real.run is None  # the corpus wrote it
        assert {comparison.first.run_id, comparison.second.run_id} - {None}
    run = TrainingRun.objects.latest("pk")
    assert run.reference == run.start


def look_at_rrhf(end):
    (rows,) = snapshots()
    assert all(2 <= len(row.completions) <= 4 and len(set(row.scores)) > 1 for row in rows)
    assert all(row.completion_ids for row in rows)


def look_at_slic(end):
    (rows,) = snapshots()
    assert all(row.target is not None for row in rows)
    assert all(row.p_first in (0.0, 1.0) for row in rows)
    best = {row.prompt: row.target for row in rows}
    finals = {row.first if row.p_first else row.second for row in rows}
    assert set(best.values()) & finals  # the best candidate won its games


def look_at_click(end):
    (rows,) = snapshots()
    corpus = set(Completion.objects.filter(run=None).values_list("text", flat=True))
    with_data = [row for row in rows if row.target is not None]
    assert with_data
    assert {row.target for row in with_data} <= corpus


def look_at_gkd(end):
    (rows,) = snapshots()
    assert {row.source for row in rows} == {"student", "data"}
    run = TrainingRun.objects.latest("pk")
    assert run.reference.recipe == "dpo"


def look_at_tr_dpo(end):
    run = TrainingRun.objects.latest("pk")
    assert read_spec(store_path(run.run_dir)).anchor == CATALOGUE[run.round.loop.recipe].anchor


LOOKS = {
    "tr-dpo": look_at_tr_dpo,
    "tr-dpo-hard": look_at_tr_dpo,
    "rest": look_at_rest,
    "rs-ft": look_at_rs_ft,
    "spin": look_at_spin,
    "rrhf": look_at_rrhf,
    "slic-hf": look_at_slic,
    "click": look_at_click,
    "gkd": look_at_gkd,
}


def test_memory_brings_the_rounds_before_back(letters):
    run_recipe("spin", rounds=2)
    first, second = snapshots()
    assert {row.id for row in first} < {row.id for row in second}
    run_recipe("rs-ft", rounds=2)
    first, second = snapshots()
    assert {row.id for row in first} & {row.id for row in second}
    assert len(second) > len(first)
    starts = [run.start.name for run in TrainingRun.objects.filter(round__loop=Loop.objects.latest("pk"))]
    assert starts == ["tiny", "tiny"]  # always from the first policy


def test_what_lacks_a_teacher_is_refused_and_leaves_nothing(letters):
    with pytest.raises(CommandError, match="needs a teacher"):
        run_recipe("gkd")
    with pytest.raises(CommandError, match="no policy checkpoint 'lost'"):
        run_recipe("gkd", **{"objective.reference": "checkpoint:lost"})
    with pytest.raises(CommandError, match=r"label\.labels must be hard or sampled: click takes no soft labels"):
        run_recipe("click", **{"label.labels": "soft"})
    assert not Loop.objects.exists()
    assert not Round.objects.exists()
