"""What a loop will ask of a judge that costs: only what it means to learn from, and only what was not said."""

from __future__ import annotations

import pytest

from apps.judging.services import judge_create
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.prompts.models import ImportBatch
from apps.training.loops.forecast import forecast
from apps.training.loops.starting import asks_first
from apps.training.rounds.ahead import Ahead
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe
from tests.workers.ensembles import ensemble_create

pytestmark = pytest.mark.django_db


@pytest.fixture
def critic(project):
    endpoint = endpoint_create(
        project=project, name="model", base_url=f"{SIMULATED_SCHEME}letters", model="simulated-judge", is_simulated=True
    )
    project.label_judge = "critic"
    project.save()
    return judge_create(
        project=project, name="critic", kind="llm", endpoint=endpoint, mode="logprob", criterion="Kinder.",
        order_policy="average", is_simulated=True,
    )  # fmt: skip


@pytest.fixture
def letters(project, make_prompt, make_comparison):
    """Three stored comparisons of the set `main`, two of `maths`, one that a loop made and one made to measure."""
    for n, name in enumerate(("main", "main", "main", "maths", "maths")):
        make_comparison(project, (f"kind {n}", f"rude {n}"), prompt=make_prompt(project, prompt_set=name))
    prompt = make_prompt(project)
    make_comparison(project, ("a", "b"), prompt=prompt, origin="loop:1:1")
    make_comparison(project, ("c", "d"), prompt=prompt, origin="evaluation:1:1", held_out=True)
    return project


def calls(project, recipe):
    """What labelling asks of language models; what measuring does is left out."""
    seen = forecast(project=project, recipe=recipe, n_rounds=1)
    return seen.judge_calls - seen.evaluation_calls


def test_the_judge_of_an_ai_reward_model_is_asked_about_the_prompts_that_the_loop_means(letters, critic):
    recipe = get_recipe("rlaif")
    assert calls(letters, recipe) == 5 * 2  # in both orders
    assert calls(letters, apply_settings(recipe, {"prompts.sets": "maths"})) == 2 * 2
    assert calls(letters, apply_settings(recipe, {"prompts.sets": "nowhere"})) == 0
    assert calls(letters, apply_settings(recipe, {"label.judge": "nobody"})) == 0  # starting it says that there is none


def test_what_an_import_has_not_finished_is_not_there_yet(letters, critic, make_comparison, make_prompt):
    assert asks_first(letters, get_recipe("rlaif"))
    letters.comparisons.all().delete()
    batch = ImportBatch.objects.create(project=letters, format="records")
    row = make_comparison(letters, prompt=make_prompt(letters, batch=batch), batch=batch)
    assert not Ahead(letters, get_recipe("rlaif")).comparisons.filter(pk=row.pk).exists()
    assert not asks_first(letters, get_recipe("rlaif"))


def test_a_verdict_that_measured_a_policy_saves_no_call_for_a_label(letters, critic, make_verdict):
    recipe = apply_settings(get_recipe("dpo"), {"label.judge": "critic"})
    assert calls(letters, recipe) == 5 * 2
    make_verdict(letters.comparisons.get(origin="evaluation:1:1"), judge=critic)
    assert calls(letters, recipe) == 5 * 2
    make_verdict(Ahead(letters, recipe).comparisons[0], judge=critic)
    assert calls(letters, recipe) == 4 * 2


@pytest.mark.slow
def test_each_judge_of_a_step_is_foreseen_by_what_it_is_asked(letters, critic):
    """Two answers to each of the six prompts make one pair. Whoever grades is asked about an answer, not a pair."""
    project, endpoint = letters, critic.endpoint
    llm = {"project": project, "kind": "llm", "endpoint": endpoint, "criterion": "Kinder.", "is_simulated": True}
    once = judge_create(name="once", mode="logprob", order_policy="random", **llm)
    grader = judge_create(name="grader", mode="additive", options={"samples": 3}, **llm)
    rules = judge_create(
        project=project, name="short", kind="rules", options={"rules": [{"check": "words", "at_most": 9}]}
    )
    ensemble_create(project=project, name="both", members=[critic, grader])
    ensemble_create(project=project, name="mixed", members=[once, rules, critic])

    def asked(recipe, judge):
        recipe = apply_settings(get_recipe(recipe), {"label.judge": judge, "prompts.n": "6"})
        assert Ahead(project, recipe).prompts == 6
        return calls(project, recipe)

    for recipe in ("oaif-dpo",):
        assert asked(recipe, "critic") == 6 * 2
        assert asked(recipe, "once") == 6
        assert asked(recipe, "grader") == 6 * 2 * 3
        assert asked(recipe, "short") == 0
        assert asked(recipe, "both") == 6 * (2 + 6)
        assert asked(recipe, "mixed") == 6 * (1 + 2)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["grpo", "iterative-dpo"])
def test_each_judge_that_scores_is_foreseen_by_what_it_is_asked(recipe, letters, critic):
    """In a step and in a round alike: every answer is graded, or every pair of at most eight compared."""
    llm = {"project": letters, "kind": "llm", "endpoint": critic.endpoint, "criterion": "Kinder.", "is_simulated": True}
    grader = judge_create(name="grader", mode="rubric", **llm)
    ensemble_create(project=letters, name="both", members=[critic, grader])

    def asked(judge):
        settings = {"score.judge": judge, "prompts.n": "6", "draws.n": "4"}
        return calls(letters, apply_settings(get_recipe(recipe), settings))

    assert asked("grader") == 6 * 4
    assert asked("critic") == 6 * 6 * 2  # the six pairs of four answers, in both orders
    assert asked("both") == 6 * (4 + 6 * 2)


def test_a_grader_of_stored_comparisons_is_asked_about_each_answer_once(letters, critic, make_verdict):
    grader = judge_create(
        project=letters, name="grader", kind="llm", endpoint=critic.endpoint, criterion="Kinder.", mode="additive",
        options={"samples": 3}, is_simulated=True,
    )  # fmt: skip
    recipe = apply_settings(get_recipe("dpo"), {"label.judge": "grader"})
    assert calls(letters, recipe) == 5 * 2 * 3
    make_verdict(Ahead(letters, recipe).comparisons[0], judge=grader)
    assert calls(letters, recipe) == 4 * 2 * 3
