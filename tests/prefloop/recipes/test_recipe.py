from __future__ import annotations

import json

import pytest

from prefloop.config import ConfigError, apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE, UnknownRecipe, get_recipe, list_recipes
from prefloop.recipes.recipe import Anchor, Draw, Filter, Label, Objective, Pairing, Recipe, Score

# The parts and keys that scripts from outside rely on.
PROMISED = {
    "prompts": {"generator", "n"},
    "draws": {"source", "n", "temperature", "top_p", "top_k", "max_tokens"},
    "refresh": {""},
    "score": {"judge", "samples"},
    "filter": {"kind"},
    "pairing": {"kind"},
    "label": {"judge", "labels", "noise"},
    "review": {"mode", "budget"},
    "memory": {"kind", "k", "weight"},
    "objective": {"beta", "label_smoothing", "lr", "epochs", "batch", "reference", "start_from"},
}


def test_the_promised_keys_of_a_loop_are_all_there() -> None:
    keys = {info.key for info in describe(get_recipe("iterative-dpo"))}
    promised = {f"{part}.{name}".rstrip(".") for part, names in PROMISED.items() for name in names}
    assert promised <= keys


def test_every_default_is_explained() -> None:
    for recipe in list_recipes():
        for info in describe(recipe):
            assert info.help, info.key
            assert info.allowed, info.key


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_recipe_survives_json(name: str) -> None:
    recipe = get_recipe(name)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_shown_default_can_be_set_again(name: str) -> None:
    recipe = get_recipe(name)
    assert apply_settings(recipe, {info.key: str(info.default) for info in describe(recipe)}) == recipe


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_the_ingredients_of_a_recipe_are_recipes(name: str) -> None:
    assert set(get_recipe(name).needs) <= set(CATALOGUE)


def test_an_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UnknownRecipe, match="no recipe 'ppo'; there are: sft, reward-model, best-of-n, dpo, iterative-dpo"
    ):
        get_recipe("ppo")


def test_iterative_dpo_has_the_numbers_that_passed_on_letters() -> None:
    recipe = get_recipe("iterative-dpo")
    (draw,) = recipe.draws
    assert (recipe.prompts.n, draw.source, draw.n, draw.temperature) == (384, "current", 8, 1.0)
    assert (recipe.pairing.kind, recipe.rounds, recipe.refresh) == ("best-against-worst", 3, "round")
    objective = recipe.objective
    assert (objective.beta, objective.lr, objective.batch, objective.schedule) == (0.3, 1.7e-4, 16, "linear")
    assert (objective.reference, objective.start_from) == ("initial", "previous")


# Who samples, who labels: the comparison table of the literature (METHODS, section 1), row by row.
@pytest.mark.parametrize(
    ("name", "on_policy", "online_feedback", "n_models"),
    [
        ("sft", "no", False, 1),
        ("reward-model", "no", False, 1),
        ("best-of-n", "no", False, 2),  # policy and reward model, at inference
        ("dpo", "no", False, 2),  # policy and reference
        ("iterative-dpo", "batch", True, 2),
    ],
)
def test_who_samples_and_who_labels_agrees_with_the_literature(
    name: str, on_policy: str, online_feedback: bool, n_models: int
) -> None:
    recipe = get_recipe(name)
    assert (recipe.on_policy, recipe.online_feedback, recipe.n_models) == (on_policy, online_feedback, n_models)
    assert recipe.needs_human_labels is False
    assert recipe.external_api is False


def test_a_judge_that_labels_two_answers_needs_no_reward_model() -> None:
    recipe = get_recipe("iterative-dpo")
    assert recipe.ingredients == ("reward-model",)
    paired = apply_settings(recipe, {"draws.n": "2", "pairing.kind": "the-two", "label.judge": "kind-and-correct"})
    assert (paired.uses_scores, paired.ingredients) == (False, ())
    other = apply_settings(recipe, {"score.judge": "helpfulness-1-to-10"})
    assert (other.uses_scores, other.ingredients) == (True, ())


def test_an_offline_recipe_does_not_take_what_it_would_ignore() -> None:
    keys = {info.key for info in describe(get_recipe("dpo"))}
    assert not keys & {"draws.n", "refresh", "score.judge", "filter.kind", "pairing.kind", "memory.k", "anchor.rate"}
    assert "objective.beta" not in {info.key for info in describe(get_recipe("sft"))}
    with pytest.raises(ConfigError, match=r"no setting 'draws\.n'"):
        apply_settings(get_recipe("dpo"), {"draws.n": 4})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws.n": "1"}, "draws.n must be a whole number ≥ 2 to make pairs, not 1"),
        ({"pairing.kind": "the-two"}, "draws.n must be 2 for pairing.kind the-two, not 8"),
        ({"draws.source": "data"}, "draws.source must be a policy where refresh is round, not 'data'"),
        ({"draws.source": "anchor"}, "draws.source must not be 'anchor'"),
        ({"filter.kind": "best"}, "filter.kind best leaves one completion"),
        ({"objective.label_smoothing": "0.5"}, "objective.label_smoothing must be a number ≥ 0 and < 0.5"),
        ({"objective.reference": "none"}, "objective.reference must be one of initial, previous, checkpoint:NAME"),
    ],
)
def test_a_loop_that_could_not_run_is_refused_before_it_starts(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_settings(get_recipe("iterative-dpo"), settings)


def test_a_recipe_that_contradicts_itself_is_refused() -> None:
    def make(**parts: object) -> Recipe:
        return Recipe(name="x", title="x", idea="x", paper="x", group="offline", **parts)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="has no draws"):
        make()
    data = (Draw(source="data"),)
    with pytest.raises(ConfigError, match="labels by scores but has no score"):
        make(draws=data, label=Label(by="scores"))
    with pytest.raises(ConfigError, match=r"filter\.kind best needs scores"):
        make(draws=data, filter=Filter(kind="best"))
    with pytest.raises(ConfigError, match="group must be one of"):
        Recipe(name="x", title="x", idea="x", paper="x", group="sometimes", draws=data)  # type: ignore[arg-type]


def test_from_json_refuses_what_a_recipe_does_not_have() -> None:
    data = get_recipe("dpo").to_json()
    with pytest.raises(ConfigError, match="recipe has no colour"):
        Recipe.from_json({**data, "colour": "red"})
    with pytest.raises(ConfigError, match="objective has no gamma"):
        Recipe.from_json({**data, "objective": {**data["objective"], "gamma": 1}})
    with pytest.raises(ConfigError, match="not a recipe"):
        Recipe.from_json({"name": "x"})


def test_an_anchor_shows_the_keys_of_its_kind_only() -> None:
    assert Anchor().hidden() == {"rate", "every"}
    assert Anchor(kind="copy").hidden() == {"rate"}
    assert Anchor(kind="ema").hidden() == {"every"}


def test_the_kind_of_run_follows_from_the_loss() -> None:
    kinds = {name: get_recipe(name).run_kind for name in CATALOGUE}
    assert kinds == {
        "sft": "sft",
        "reward-model": "reward-model",
        "best-of-n": None,
        "dpo": "dpo",
        "iterative-dpo": "dpo",
    }
    assert Objective(loss="none").hidden() >= {"lr", "beta"}
    assert Score(by="none").hidden() == {"judge", "samples"}
    assert Pairing().kind == "as-given"
