"""Every recipe by every key that any recipe has: a valid other value is taken, and is then in the recipe, or refused.

That what is taken changes what a loop plans and a run does: tests/apps/training/test_every_key.py and
tests/prefloop/engine/test_every_key.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from prefloop.config import ConfigError, KeyInfo, Value, apply_settings, describe
from prefloop.recipes.catalogue import CATALOGUE, get_recipe, list_recipes
from prefloop.recipes.recipe import Recipe

README = (Path(__file__).resolve().parents[3] / "prefloop" / "README.md").read_text("utf-8")
OTHERS: dict[str, Value] = {"filter.thresholds": "0.2,0.4", "memory.order": "logged", "adapter.targets": "q_proj"}
ALWAYS_PAIRED: dict[str, dict[str, Value]] = {  # what waits for another key, and that key
    "filter.kind": {"filter.keep": 2},
    "filter.beta": {"filter.keep": 2},
    "review.budget": {"review.mode": "sample"},
    "memory.k": {"memory.kind": "rounds"},
}


def bare(key: str) -> str:
    return ".".join(part for part in key.split(".") if not part.isdigit())


def of(recipe: Recipe) -> dict[str, KeyInfo]:
    return {info.key: info for info in describe(recipe)}


UNIVERSE: dict[str, KeyInfo] = {bare(info.key): info for recipe in list_recipes() for info in describe(recipe)}
for _recipe in (  # keys that come with others
    apply_settings(
        get_recipe("iterative-dpo"), {"filter.kind": "rejection", "filter.keep": 2, "memory.kind": "rounds"}
    ),
    apply_settings(get_recipe("iterative-dpo"), {"prompts.generator": "self-instruct"}),
):
    UNIVERSE |= {bare(info.key): info for info in describe(_recipe)}


def others(info: KeyInfo) -> list[Value]:
    """Valid values other than the default."""
    found: list[Value] = [name for name in info.choices if name != info.default]
    found += [f"{prefix}{'somebody' if prefix == 'checkpoint:' else 4}" for prefix in info.prefixes]
    if info.type == "flag":
        found = [not info.default]
    elif info.type in ("integer", "number") and not isinstance(info.default, str):
        found = [int(info.default) + 1 if info.type == "integer" else 0.5 * float(info.default) + 0.11]
    elif not found:
        found = [OTHERS.get(bare(info.key), "somebody")]
    return found


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_key_is_taken_or_refused_by_name(name: str) -> None:
    recipe = get_recipe(name)
    mine = of(recipe)
    here = {bare(key) for key in mine}
    for key, info in UNIVERSE.items():
        if key in here:
            continue
        for value in others(info):
            with pytest.raises(ConfigError) as refused:
                apply_settings(recipe, {key: value})
            said = str(refused.value)
            assert said.startswith(f"no setting {key!r}"), (key, said)
            assert "\n" not in said
    for key, info in mine.items():
        for value in others(info):
            beside = ALWAYS_PAIRED.get(bare(key), {})
            beside = {one: to for one, to in beside.items() if one not in here or mine[one].default != to}
            if recipe.memory.kind == "overrides" and bare(key) == "memory.weight":
                beside = {}
            made = _taken(recipe, {key: value}) or _taken(recipe, {**beside, key: value})
            if made is None:
                with pytest.raises(ConfigError, match=rf"{bare(key)}|draws\.n|objective\.n|prompts"):
                    apply_settings(recipe, {key: value})
                continue
            assert {name_: one.default for name_, one in of(made).items()} != {
                k: one.default for k, one in mine.items()
            }


def _taken(recipe: Recipe, chosen: dict[str, Value]) -> Recipe | None:
    try:
        return apply_settings(recipe, chosen)
    except ConfigError:
        return None


@pytest.mark.parametrize(
    ("name", "chosen", "said"),
    [
        ("iterative-dpo", {"draws.source": "run:777"}, "draws.source must be one of current, initial, checkpoint:NAME"),
        ("iterative-dpo", {"label.judge": "critic"}, "no setting 'label.judge' here: its labels are the scores"),
        ("iterative-dpo", {"refresh": "never"}, "refresh must be one of round, step, every:NAME, not 'never'"),
        ("gkd", {"refresh": "step"}, "refresh must be round, not 'step'"),
        ("on-policy-distillation", {"refresh": "round"}, "refresh must be one of step, every:NAME, not 'round'"),
        ("on-policy-distillation", {"objective.lambda": 0.5}, "no setting 'objective.lambda' here: every answer of a"),
        ("xpo", {"draws.n": 2}, "no setting 'draws.n' here: it compares one answer of the policy with one of its"),
        ("xpo", {"pairing.kind": "first-round"}, "no setting 'pairing.kind' here: it compares one answer"),
        ("iterative-pcl", {"refresh": "step"}, "refresh must be round, not 'step'"),
        ("rlhf", {"draws.temperature": 0.7}, "no setting 'draws.temperature' here: ppo weighs answers by"),
        ("bond", {"draws.temperature": 0.7}, "no setting 'draws.temperature' here: bond weighs answers by"),
        ("bond", {"draws.top_p": 0.9}, "no setting 'draws.top_p' here: bond weighs"),
        ("rlhf", {"filter.kind": "rejection"}, "no setting 'filter.kind' here: every answer of a step is trained on"),
        ("oaif-dpo", {"review.mode": "all"}, "no setting 'review.mode' here: a step does not wait for people"),
        ("oaif-dpo", {"draws.source": "initial"}, "no setting 'draws.source' here: the method decides which model"),
        ("oaif-dpo", {"objective.start_from": "initial"}, "no setting 'objective.start_from' here: a block of steps"),
        ("tandem-ipo", {"objective.batch": 2}, "no setting 'objective.batch' here: a replay uses the logged steps"),
        ("tandem-bo2", {"objective.epochs": 5}, "no setting 'objective.epochs' here: a replay uses the logged steps"),
        ("dpo", {"objective.start_from": "initial"}, "no setting 'objective.start_from' here: it trains once"),
        ("dpo", {"objective.reference": "previous"}, "objective.reference must be one of initial, checkpoint:NAME"),
        ("bond", {"objective.n": 32}, "objective.n must be at most 16, the anchor's answers to a prompt"),
        ("bond-forward", {"draws.n": 2}, "no setting 'draws.n' here: it samples objective.n answers"),
        ("j-bond", {"draws.1.n": 3}, "no setting 'draws.1.n' here: j-bond compares with 2 answers of the anchor"),
        ("dpo", {"review.budget": 5}, "review.budget does nothing while review.mode is none"),
        ("iterative-dpo", {"memory.k": 3}, "memory.k does nothing while memory.kind is overrides"),
        ("iterative-dpo", {"filter.kind": "rejection"}, "filter.kind does nothing while all 8 answers (draws.n) are"),
        ("iterative-dpo", {"draws.n": 2, "pairing.kind": "tournament"}, "pairing.kind does nothing while there are"),
        ("iterative-dpo", {"draws.temperature": 0, "draws.top_p": 0.5}, "draws.top_p does nothing while draws."),
        ("iterative-dpo", {"refresh": "step", "filter.kind": "rejection"}, "no setting 'filter.kind' here: every"),
        ("rs-ft", {"memory.kind": "overrides"}, "memory.kind must be one of none, rounds, not 'overrides'"),
        ("oaif-dpo", {"memory.kind": "rounds"}, "memory.kind must be one of none, overrides, not 'rounds'"),
        ("rrhf", {"filter.kind": "rejection"}, "no setting 'filter.kind' here: rrhf ranks all answers to a prompt"),
        ("best-of-n", {"filter.kind": "all"}, "no setting 'filter.kind' here: it measures the best answer"),
        ("oaif-dpo", {"pairing.kind": "as-given"}, "pairing.kind must be one of the-two, first-round, not 'as-given'"),
        ("spin", {"prompts.generator": "self-instruct"}, "no setting 'prompts.generator' here: its prompts must have"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused_with_the_reason(name: str, chosen: dict[str, Value], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        apply_settings(get_recipe(name), chosen)
    assert str(refused.value).startswith(said)


def test_bond_forward_draws_as_many_as_it_takes_the_best_of() -> None:
    recipe = apply_settings(get_recipe("bond-forward"), {"objective.n": 32})
    assert [draw.n for draw in recipe.draws] == [32]


def test_no_recipe_begins_with_settings_that_it_would_refuse() -> None:
    for recipe in list_recipes():
        recipe.check_settings()
        keys = of(recipe)
        assert not set(recipe.meaningless()) & set(keys)
        for key, reason in recipe.meaningless().items():
            assert reason[0].islower() or reason.startswith("J-BOND"), key
            assert not reason.endswith(".")


# --- departures ---


def test_the_index_names_every_departure_of_every_recipe() -> None:
    section = README.split("### Departures\n")[1].split("\n### ")[0]
    listed = [line for line in section.splitlines() if line.startswith(("- `", "  - "))]
    wanted = []
    for recipe in list_recipes():
        if recipe.departures:
            wanted += [f"- `{recipe.name}` ({recipe.paper})", *(f"  - {departure}" for departure in recipe.departures)]
    assert listed == wanted, "prefloop/README.md should hold:\n" + "\n".join(wanted)


def test_departures_are_sentences() -> None:
    for recipe in list_recipes():
        for departure in recipe.departures:
            assert departure[0].isupper()
            assert departure.endswith(".")
    assert {recipe.name for recipe in list_recipes() if not recipe.departures} == {"best-of-n", "bond-forward"}


def test_a_recipe_that_was_stored_before_is_still_read() -> None:
    stored: dict[str, Any] = get_recipe("rlhf").to_json()
    stored.pop("departures")
    stored["objective"].pop("missing_eos_penalty")
    stored["draws"][0] |= {"temperature": 0.7, "source": "run:777"}
    read = Recipe.from_json(stored)
    assert (read.draws[0].temperature, read.draws[0].source) == (0.7, "current")
    assert dataclasses.replace(read.objective) == get_recipe("rlhf").objective
