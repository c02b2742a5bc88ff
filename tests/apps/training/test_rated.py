"""People's ratings of single answers as what a loop learns from, and what refuses them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.labels.models import Rating
from apps.policies.store import store_path
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import loop_start
from apps.training.models import TrainingRun
from apps.training.rounds.evaluators import labellers_of
from apps.training.rounds.loop_judge import LoopRefused
from prefloop.config import ConfigError, apply_settings
from prefloop.recipes.catalogue import CATALOGUE, get_recipe
from prefloop.recipes.meaning import ratings_refusal
from prefloop.recipes.snapshots import read_rows
from prefloop.rubrics import rubric_read, rubric_stored, total

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUBRIC = rubric_read("correct: Is it true?")
BY_RATINGS = {"label.judge": "ratings"}


@pytest.fixture
def rated(loop_project, make_completion):
    """Five answers to training prompts, one to a prompt for evaluation; two people rate the first."""
    prompts = list(loop_project.prompts.filter(split="train").order_by("pk"))
    held_out = loop_project.prompts.filter(split="eval").first()
    said = [("Good.", [5, 4]), ("Bad.", [1]), ("Split.", [5, 1]), ("Middling.", [3]), ("Fine.", [4])]
    for at, (text, values) in enumerate([*said, ("Held out.", [5])]):
        answer = make_completion(prompts[at] if at < len(said) else held_out, text, index=50 + at)
        for rater, value in zip(("ann", "ben"), values, strict=False):
            Rating.objects.create(
                completion=answer,
                rater=rater,
                choice="rated",
                rubric=rubric_stored(RUBRIC),
                values={"correct": value},
                total=total(RUBRIC, {"correct": value}),
                at=T0,
            )
    return loop_project


@pytest.mark.slow
def test_answers_rated_above_the_middle_are_desirable_and_those_below_are_not(rated, drive, bob, client_for):
    recipe = apply_settings(get_recipe("kto"), BY_RATINGS)
    seen = forecast(project=rated, recipe=recipe, n_rounds=1)
    loop = loop_start(project=rated, recipe="kto", settings=BY_RATINGS)
    drive()
    run = TrainingRun.objects.get(round__loop=loop)
    rows = read_rows(store_path(run.snapshot.path), "answers")
    assert [(row.completion, row.desirable, len(row.label_ids)) for row in rows] == [
        ("Good.", True, 2),
        ("Bad.", False, 1),
        ("Fine.", True, 1),
    ]
    assert (seen.rows, seen.flags, run.snapshot.n_pairs, run.snapshot.sources) == (3, 0, 3, {"rating": 3})
    assert labellers_of(rated, recipe, judge=None) == set(), "no judge had a part in it"
    page = client_for(bob).get(f"/p/{rated.slug}/policies/{run.output_id}/labels/").content.decode()
    assert "3 of its rows are single answers that people rated above or below the middle of the scale." in page
    form = client_for(bob).get(f"/p/{rated.slug}/loops/new/kto/").content.decode()
    assert '<option value="ratings">' in form


def test_without_ratings_there_is_nothing_to_learn(loop_project):
    with pytest.raises(LoopRefused, match="has been rated yet"):
        loop_start(project=loop_project, recipe="kto", settings=BY_RATINGS)


def test_the_usual_labels_do_not_mean_ratings(rated):
    assert forecast(project=rated, recipe=get_recipe("kto"), n_rounds=1).rows == 0


@pytest.mark.parametrize("name", [one.name for one in CATALOGUE.values()])
def test_every_recipe_takes_them_or_says_why_not(name):
    recipe = get_recipe(name)
    assert ratings_refusal(recipe) == ""
    for key in ("label.judge", "score.judge"):
        if name == "kto" and key == "label.judge":
            apply_settings(recipe, {key: "ratings"})
            continue
        with pytest.raises(ConfigError) as refused:
            apply_settings(recipe, {key: "ratings"})
        assert str(refused.value).count("\n") == 0


def test_why_not_is_a_sentence():
    with pytest.raises(ConfigError, match="ratings are of single answers, and dpo compares two"):
        apply_settings(get_recipe("dpo"), BY_RATINGS)
    with pytest.raises(ConfigError, match="people have rated stored answers only, and rs-ft scores"):
        apply_settings(get_recipe("rs-ft"), {"score.judge": "ratings"})
    with pytest.raises(ConfigError, match="people have rated stored answers only, and oaif-dpo labels"):
        apply_settings(get_recipe("oaif-dpo"), BY_RATINGS)
