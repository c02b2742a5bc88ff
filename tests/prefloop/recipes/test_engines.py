"""Which engine draws, and what an engine can't do for a recipe."""

from __future__ import annotations

import json

import pytest

from prefloop.config import ConfigError, apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.engines import Machine, choose, choose_in_steps
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.recipe import Recipe

GPU = Machine(accelerator=True, vllm=True)


@pytest.mark.parametrize(
    ("setting", "machine", "n_answers", "name", "why"),
    [
        ("auto", GPU, 5000, "vllm", "auto: 5,000 answers on a GPU"),
        ("auto", GPU, 100, "transformers", "auto: 100 answers are too few to start vLLM for"),
        ("auto", Machine(accelerator=False, vllm=True), 5000, "transformers", "auto: the worker has no GPU"),
        ("auto", Machine(accelerator=True, vllm=False), 5000, "transformers", "auto: vLLM is not installed"),
        ("vllm", Machine(accelerator=False, vllm=False), 1, "vllm", "as it was set"),
        ("transformers", GPU, 5000, "transformers", "as it was set"),
        ("endpoint:big", GPU, 5000, "endpoint", "as it was set"),
    ],
)
def test_auto_chooses_by_what_the_machine_has_and_the_run_asks(setting, machine, n_answers, name, why):
    chosen = choose(setting, machine, n_answers=n_answers)
    assert (chosen.name, chosen.why) == (name, why)


def test_inside_steps_auto_takes_what_repeats_exactly():
    assert choose_in_steps("auto").name == "transformers"
    assert choose_in_steps("vllm").name == "vllm"


@pytest.mark.parametrize("name", [name for name, recipe in CATALOGUE.items() if recipe.samples])
def test_every_recipe_that_samples_takes_an_engine_of_ours(name):
    recipe = CATALOGUE[name]
    keys = {info.key for info in describe(recipe)}
    assert "draws.engine" in keys
    made = apply_settings(recipe, {"draws.engine": "vllm"})
    assert {draw.engine for draw in made.draws if draw.source != "data"} == {"vllm"}
    assert made.engine == "vllm"
    assert Recipe.from_json(made.to_json()) == made


@pytest.mark.parametrize("name", [name for name, recipe in CATALOGUE.items() if recipe.samples])
def test_an_endpoint_answers_in_the_start_s_place_or_is_refused_in_a_sentence(name):
    recipe = CATALOGUE[name]
    settings = {"draws.engine": "endpoint:big"}
    if any(info.key == "draws.source" for info in describe(recipe)):
        settings["draws.top_k"] = 0
        with_initial = apply_settings(recipe, settings | {"draws.source": "initial"})
        assert {draw.endpoint for draw in with_initial.draws if draw.source != "data"} == {"big"}
        assert with_initial.engine == "auto"  # its own policies are measured by an engine of ours
        if recipe.draws[-1].source == "initial":
            return
        with pytest.raises(ConfigError, match=r"draws.engine must not be endpoint:big where draws.source is \w+: an"):
            apply_settings(recipe, settings)
    else:  # inside steps it is no choice
        with pytest.raises(ConfigError, match=r"^draws\.engine must be one of auto, transformers, vllm, not 'endpoint"):
            apply_settings(recipe, settings)


def test_an_endpoint_knows_no_top_k():
    settings = {"draws.engine": "endpoint:big", "draws.source": "initial", "draws.top_k": 5}
    with pytest.raises(ConfigError, match=r"draws\.top_k must be 0 where draws.engine is endpoint:big"):
        apply_settings(CATALOGUE["iterative-dpo"], settings)


def test_a_run_from_before_engines_is_the_same_run():
    """What its settings are hashed from holds no engine, unless one was named."""
    online = OnlineSpec.of(CATALOGUE["oaif-dpo"])
    assert "engine" not in json.dumps(online.settings())
    stored = json.loads(json.dumps(online.settings()))
    assert OnlineSpec.from_json(stored).settings() == online.settings()
    named = OnlineSpec.of(apply_settings(CATALOGUE["oaif-dpo"], {"draws.engine": "vllm"}))
    assert [draw["engine"] for draw in named.settings()["draws"]] == ["vllm"]
