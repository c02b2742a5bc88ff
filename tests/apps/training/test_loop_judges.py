"""Whose labels a loop takes where its settings name nobody, and which judges it can't take."""

from __future__ import annotations

import pytest

from apps.judging.services import judge_create
from apps.policies.models import Endpoint
from apps.training.rounds.loop_judge import LoopRefused, language_model, loop_judge
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_llm(loop_project):
    endpoint = Endpoint.objects.create(project=loop_project, name="e", base_url="https://api.example.org/v1", model="m")

    def make(name, mode="text", **more):
        return judge_create(
            project=loop_project, name=name, kind="llm", endpoint=endpoint, criterion="Good.", mode=mode, **more
        )

    return make


def test_without_a_language_model_the_reward_model_labels_inside_a_step(loop_project):
    assert loop_judge(loop_project, get_recipe("oaif-dpo")).name == "reward-model"


def test_a_language_model_that_compares_labels_where_nobody_is_named(loop_project, make_llm):
    make_llm("simulated", is_simulated=True)
    make_llm("grades", mode="additive")
    assert language_model(loop_project) is None
    old, new = make_llm("old"), make_llm("new")
    assert loop_judge(loop_project, get_recipe("oaif-dpo")) == new
    loop_project.label_judge = "old"
    assert loop_judge(loop_project, get_recipe("oaif-dpo")) == old
    named = apply_settings(get_recipe("oaif-dpo"), {"label.judge": "reward-model"})
    assert loop_judge(loop_project, named).name == "reward-model"


def test_every_judge_that_can_be_asked_scores_rounds_and_an_import_is_refused_in_one_sentence(loop_project, make_llm):
    recipe = get_recipe("iterative-dpo")
    for judge in (make_llm("compares"), make_llm("grades", mode="additive")):
        assert loop_judge(loop_project, apply_settings(recipe, {"score.judge": judge.name})) == judge
    judge_create(project=loop_project, name="theirs", kind="imported")
    with pytest.raises(LoopRefused, match="'theirs' was imported"):
        loop_judge(loop_project, apply_settings(recipe, {"score.judge": "theirs"}))
    graded = apply_settings(get_recipe("oaif-dpo"), {"label.judge": "grades"})
    assert loop_judge(loop_project, graded).name == "grades"
    inside = apply_settings(get_recipe("rlhf"), {"score.judge": "compares"})
    assert loop_judge(loop_project, inside).name == "compares"  # by a tournament in every step
