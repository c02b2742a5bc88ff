from __future__ import annotations

import json

import pytest

from prefloop.config import ConfigError, KeyInfo, apply_settings, describe
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


ELSEWHERE = {  # promised, and without a meaning where a reward model's scores label
    "score.samples": "self-rewarding",
    "label.judge": "dpo",
}


def test_the_promised_keys_of_a_loop_are_all_there() -> None:
    keys = {info.key for info in describe(get_recipe("iterative-dpo"))}
    promised = {f"{part}.{name}".rstrip(".") for part, names in PROMISED.items() for name in names}
    assert promised - keys == set(ELSEWHERE)
    for key, name in ELSEWHERE.items():
        assert key in {info.key for info in describe(get_recipe(name))}


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
    with pytest.raises(UnknownRecipe, match="no recipe 'ppo'; there are: sft, reward-model, best-of-n, dpo, ipo, "):
        get_recipe("ppo")


def test_iterative_dpo_has_the_numbers_that_passed_on_letters() -> None:
    recipe = get_recipe("iterative-dpo")
    (draw,) = recipe.draws
    assert (recipe.prompts.n, draw.source, draw.n, draw.temperature) == (384, "current", 8, 1.0)
    assert (recipe.pairing.kind, recipe.rounds, recipe.refresh) == ("best-against-worst", 3, "round")
    objective = recipe.objective
    assert (objective.beta, objective.lr, objective.batch, objective.schedule) == (0.3, 1.7e-4, 16, "linear")
    assert (objective.reference, objective.start_from) == ("initial", "previous")


# The names of the design's table of methods.
NAMES = (
    "sft reward-model best-of-n gkd dpo ipo simpo r-dpo wpo tr-dpo tr-dpo-hard orpo kto slic-hf rrhf click spin "
    "rs-ft rest rso iterative-dpo iterative-pcl self-rewarding oaif-dpo oaif-ipo oaif-slic xpo "
    "on-policy-distillation rlhf rlaif rloo grpo bond-forward bond-backward bond iterative-bond j-bond "
    "offline-ipo online-ipo tandem-ipo offline-bo2 online-bo2 tandem-bo2 "
)


def test_the_catalogue_holds_every_method() -> None:
    assert sorted(CATALOGUE) == sorted(NAMES.split())


# Who samples, who labels: the comparison table of the literature. Of each method: whose answers it learns from, who
# labels or scores them (fresh answers, in the last but one column), whether today's policy answers, networks in memory.
# Corrections of the table, each by its row: RSO is batch data sourcing, not online learning; pairwise cringe has no
# reference network, though it is told with iterative DPO's; GKD answers once a round here, at every step in its paper;
# Bo2 has no reference, online or not; SFT, reward model and tandem are not in it.
@pytest.mark.parametrize(
    ("name", "sources", "scored_by", "on_policy", "n_models"),
    [
        ("sft", {"data"}, None, "no", 1),
        ("reward-model", {"data"}, None, "no", 1),
        ("best-of-n", {"initial"}, "judge", "no", 2),  # policy and reward model, at inference
        ("bond-forward", {"anchor"}, "judge", "no", 3),  # policy, anchor, reward model
        ("bond-backward", {"anchor", "current"}, "judge", "yes", 3),
        ("bond", {"anchor", "current"}, "judge", "mixed", 3),
        ("iterative-bond", {"anchor", "current"}, "judge", "mixed", 3),
        ("j-bond", {"anchor", "current"}, "judge", "mixed", 3),
        ("gkd", {"data", "current"}, None, "batch", 2),  # student and teacher
        ("rlhf", {"current"}, "judge", "yes", 4),  # policy, reference, reward model, value
        ("rlaif", {"current"}, "judge", "yes", 4),
        ("rloo", {"current"}, "judge", "yes", 3),  # policy, reference, reward model: no value network
        ("grpo", {"current"}, "judge", "yes", 3),
        ("rest", {"current"}, "judge", "batch", 1),
        ("rs-ft", {"current"}, "judge", "batch", 1),
        ("slic-hf", {"initial"}, "judge", "no", 1),
        ("dpo", {"data"}, None, "no", 2),  # policy and reference
        ("ipo", {"data"}, None, "no", 2),
        ("simpo", {"data"}, None, "no", 1),  # no reference
        ("r-dpo", {"data"}, None, "no", 2),
        ("wpo", {"data"}, None, "no", 2),
        ("tr-dpo", {"data"}, None, "no", 2),
        ("tr-dpo-hard", {"data"}, None, "no", 2),
        ("orpo", {"data"}, None, "no", 1),
        ("kto", {"data"}, None, "no", 2),
        ("offline-ipo", {"data"}, None, "no", 2),
        ("offline-bo2", {"data"}, None, "no", 1),
        ("tandem-ipo", {"data"}, None, "no", 2),
        ("tandem-bo2", {"data"}, None, "no", 1),
        ("rrhf", {"initial"}, "judge", "no", 1),
        ("click", {"initial"}, "judge", "no", 1),  # its own samples, once
        ("spin", {"data", "previous"}, None, "batch", 2),  # no labels at all
        ("rso", {"initial"}, "judge", "no", 2),
        ("iterative-dpo", {"current"}, "judge", "batch", 2),
        ("iterative-pcl", {"current"}, "judge", "batch", 1),
        ("self-rewarding", {"current"}, "policy", "batch", 2),
        ("oaif-dpo", {"current"}, None, "yes", 3),  # policy, reference, annotator
        ("oaif-ipo", {"current"}, None, "yes", 3),
        ("oaif-slic", {"current"}, None, "yes", 3),
        ("xpo", {"current", "initial"}, None, "mixed", 3),
        ("on-policy-distillation", {"current"}, None, "yes", 2),  # student and teacher
        ("online-ipo", {"current"}, "judge", "yes", 3),
        ("online-bo2", {"current"}, "judge", "yes", 2),
    ],
)
def test_who_samples_and_who_labels_agrees_with_the_literature(
    name: str, sources: set[str], scored_by: str | None, on_policy: str, n_models: int
) -> None:
    recipe = get_recipe(name)
    assert {draw.source for draw in recipe.draws} == sources
    assert recipe.score.by == (scored_by or "none")
    assert (recipe.on_policy, recipe.n_models) == (on_policy, n_models)


def test_only_rlhf_can_not_be_without_people_and_ai_feedback_asks_a_large_model() -> None:
    assert [recipe.name for recipe in list_recipes() if recipe.needs_human_labels] == ["rlhf"]
    asks = {recipe.name for recipe in list_recipes() if recipe.external_api}
    assert asks == {"oaif-dpo", "oaif-ipo", "oaif-slic", "rlaif"}


def test_the_numbers_of_the_papers_are_the_defaults() -> None:
    def of(name: str, *keys: str) -> list[object]:
        shown = {info.key: info.default for info in describe(get_recipe(name))}
        return [shown[key] for key in keys]

    assert of("rso", "draws.n", "draws.temperature", "draws.top_k") == [64, 0.7, 40]
    assert of("rso", "filter.beta", "filter.keep", "pairing.kind") == [0.5, 8, "first-round"]
    assert of("rso", "objective.gamma", "objective.form") == [0.05, "sigmoid-norm"]
    assert of("slic-hf", "draws.n", "draws.temperature", "draws.top_k", "objective.delta") == [8, 0.7, 40, 1.0]
    assert of("self-rewarding", "draws.n", "draws.temperature", "draws.top_p", "score.samples") == [4, 0.7, 0.9, 3]
    assert of("self-rewarding", "objective.beta", "objective.reference") == [0.1, "previous"]
    assert of("oaif-dpo", "draws.n", "draws.temperature", "objective.beta") == [2, 0.9, 0.1]
    assert of("oaif-ipo", "objective.tau") == [1.0]
    assert of("oaif-slic", "objective.gamma") == [0.002]
    assert of("spin", "objective.lambda", "memory.kind", "memory.k") == [0.1, "rounds", 1]
    assert of("rlhf", "objective.beta", "objective.lambda", "objective.clip_range") == [0.05, 0.95, 0.2]
    assert of("j-bond", "draws.n", "anchor.rate", "objective.jeffreys") == [1, 0.02, 0.5]
    assert [(draw.source, draw.n) for draw in get_recipe("j-bond").draws] == [("current", 1), ("anchor", 2)]
    assert of("tr-dpo", "anchor.rate", "objective.beta") == [0.6, 0.1]
    assert of("gkd", "objective.lambda", "objective.beta", "draws.temperature") == [0.5, 0.5, 1.0]
    assert of("offline-ipo", "objective.tau", "objective.batch") == [0.1, 32]
    assert of("rs-ft", "draws.temperature", "objective.start_from") == [1.2, "initial"]


def test_a_key_shows_what_it_means_to_its_method_and_where_its_default_is_from() -> None:
    def shown(name: str, key: str) -> KeyInfo:
        (found,) = [info for info in describe(get_recipe(name)) if info.key == key]
        return found

    assert "GAE" in shown("rlhf", "objective.lambda").help
    assert "overshoots" in shown("spin", "objective.lambda").help
    assert (shown("gkd", "objective.beta").minimum, shown("gkd", "objective.beta").maximum) == (0.0, 1.0)
    assert (shown("dpo", "objective.beta").above, shown("dpo", "objective.beta").maximum) == (0.0, None)
    assert shown("ipo", "objective.form").choices == ("sum", "mean")
    assert shown("rso", "objective.form").choices == ("sigmoid-norm", "hinge-norm")
    assert "Guo et al." in shown("oaif-dpo", "draws.temperature").source
    for recipe in list_recipes():  # a source names a key that there is
        keys = {".".join(step for step in info.key.split(".") if not step.isdigit()) for info in describe(recipe)}
        assert set(recipe.sources) <= keys, recipe.name


def test_a_filter_brings_its_own_keys_and_takes_no_others() -> None:
    loop = get_recipe("iterative-dpo")
    made = apply_settings(loop, {"filter.beta": "1", "filter.kind": "rejection", "filter.keep": "4"})
    assert (made.filter.kind, made.filter.beta, made.filter.keep) == ("rejection", 1.0, 4)
    with pytest.raises(ConfigError, match=r"no setting 'filter\.beta'"):
        apply_settings(loop, {"filter.beta": "1"})
    with pytest.raises(ConfigError, match=r"no setting 'filter\.beta' here"):
        apply_settings(get_recipe("rso"), {"filter.kind": "all", "filter.beta": "1"})
    with pytest.raises(ConfigError, match="thresholds must be rising numbers"):
        apply_settings(get_recipe("rest"), {"filter.thresholds": "0.7,0.5"})
    assert get_recipe("rest").filter.n_steps == 3


def test_how_often_samples_are_drawn_inside_training() -> None:
    assert [get_recipe(name).refresh_steps for name in ("dpo", "iterative-dpo", "oaif-dpo")] == [0, 0, 1]
    every = apply_settings(get_recipe("oaif-dpo"), {"refresh": "every:4"})
    assert (every.refresh_steps, every.is_online) == (4, True)
    for wrong in ("every:0", "every:x"):
        with pytest.raises(ConfigError, match="refresh must be every:N"):
            apply_settings(get_recipe("oaif-dpo"), {"refresh": wrong})
    tandem = apply_settings(get_recipe("tandem-ipo"), {"memory.order": "window:500"})
    assert (tandem.memory.window, get_recipe("tandem-ipo").memory.window) == (500, None)
    with pytest.raises(ConfigError, match="order must be window:N"):
        apply_settings(get_recipe("tandem-ipo"), {"memory.order": "window:-1"})


def test_a_judge_that_labels_two_answers_needs_no_reward_model() -> None:
    recipe = get_recipe("iterative-dpo")
    assert recipe.uses_scores
    judged = apply_settings(get_recipe("oaif-dpo"), {"label.judge": "kind-and-correct"})
    assert not judged.uses_scores
    other = apply_settings(recipe, {"score.judge": "helpfulness-1-to-10"})
    assert other.uses_scores


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
        ({"draws.source": "data"}, "draws.source must be one of current, initial, checkpoint:NAME, not 'data'"),
        ({"draws.source": "anchor"}, "draws.source must be one of current, initial, checkpoint:NAME, not 'anchor'"),
        ({"filter.kind": "best"}, "filter.kind must be one of all, rejection, not 'best'"),
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
    with pytest.raises(ConfigError, match="objective has no zeta"):
        Recipe.from_json({**data, "objective": {**data["objective"], "zeta": 1}})
    with pytest.raises(ConfigError, match="not a recipe"):
        Recipe.from_json({"name": "x"})


def test_an_anchor_shows_the_keys_of_its_kind_only() -> None:
    assert Anchor().hidden() == {"rate", "every"}
    assert Anchor(kind="copy").hidden() == {"rate"}
    assert Anchor(kind="ema").hidden() == {"every"}
    keys = [{info.key for info in describe(get_recipe(name))} for name in ("tr-dpo", "tr-dpo-hard")]
    assert [one & {"anchor.rate", "anchor.every"} for one in keys] == [{"anchor.rate"}, {"anchor.every"}]
    with pytest.raises(ConfigError, match="its reference is the anchor"):
        apply_settings(get_recipe("tr-dpo"), {"objective.reference": "checkpoint:other"})


def test_the_kind_of_run_follows_from_the_loss() -> None:
    kinds = {name: get_recipe(name).run_kind for name in CATALOGUE}
    assert kinds["best-of-n"] is None
    assert (kinds["sft"], kinds["rest"], kinds["reward-model"]) == ("sft", "sft", "reward-model")
    assert (kinds["dpo"], kinds["iterative-dpo"], kinds["rso"], kinds["gkd"]) == ("dpo", "dpo", "rso", "gkd")
    assert {name for name, kind in kinds.items() if kind == "online"} == {
        recipe.name for recipe in list_recipes() if recipe.group == "online" or recipe.name.startswith("tandem")
    }
    assert Objective(loss="none").hidden() >= {"lr", "beta"}
    assert Score(by="none").hidden() == {"judge", "samples"}
    assert Pairing().kind == "as-given"
