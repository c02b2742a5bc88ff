from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from prefloop.config import ConfigError
from prefloop.judging.spec import JudgeSpec
from prefloop.recipes.catalogue import CATALOGUE, get_recipe
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.recipe import Anchor, Draw, Objective
from prefloop.recipes.runspec import RunFailure, RunSpec, portable, read_failure, read_spec, write_failure, write_spec

SPEC = RunSpec(run_id="7", kind="dpo", start="/models/sft", reference="/models/sft", objective=Objective(beta=0.2))


def test_a_spec_reads_back_equal(tmp_path: Path) -> None:
    write_spec(tmp_path / "run", SPEC)
    assert read_spec(tmp_path / "run") == SPEC


def test_what_lies_below_the_store_is_named_relative_to_the_run_and_nothing_else(tmp_path: Path) -> None:
    store, run_dir = tmp_path / "store", tmp_path / "store" / "p" / "runs" / "8"
    policy, reward, log = (
        str(store / "p" / name) for name in ("checkpoints/sft", "runs/5/final", "runs/6/events.jsonl")
    )
    member = JudgeSpec(kind="policy", checkpoint=policy)
    judge = JudgeSpec(kind="ensemble", members=(member, JudgeSpec(kind="rules")))
    online = OnlineSpec.of(
        get_recipe("oaif-dpo"), reward_model=reward, carry="/elsewhere/step-000002", replay=(log,), judge=judge
    )
    spec = RunSpec(run_id="8", kind="online", start=policy, reference="/models/sft", online=online)
    made = portable(spec, run_dir, root=store)
    assert (made.start, made.reference, made.snapshot) == ("../../checkpoints/sft", "/models/sft", "snapshot.jsonl")
    assert made.online is not None
    assert (made.online.reward_model, made.online.carry) == ("../5/final", "/elsewhere/step-000002")
    assert made.online.replay == ("../6/events.jsonl",)
    assert made.online.judge is not None
    assert [one.checkpoint for one in made.online.judge.members] == ["../../checkpoints/sft", ""]
    assert made.config_hash() == spec.config_hash()


@pytest.mark.parametrize("name", [name for name, recipe in CATALOGUE.items() if recipe.run_kind])
def test_every_recipe_that_trains_can_be_a_run(tmp_path: Path, name: str) -> None:
    recipe = get_recipe(name)
    spec = RunSpec(
        run_id="8",
        kind=recipe.run_kind or "",
        start="/models/sft",
        reference="/models/sft" if recipe.objective.needs_reference else None,
        objective=recipe.objective,
        anchor=Anchor() if recipe.learns_in_steps else recipe.anchor,
        online=OnlineSpec.of(recipe, reward_model="/models/reward") if recipe.learns_in_steps else None,
    )
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


def test_an_online_run_is_hashed_by_what_it_does_and_not_by_where_its_reward_model_lies(tmp_path: Path) -> None:
    online = OnlineSpec.of(get_recipe("j-bond"), reward_model="/a")
    spec = dataclasses.replace(SPEC, kind="online", online=online)
    moved = dataclasses.replace(spec, online=dataclasses.replace(online, reward_model="/b"))
    assert moved.config_hash() == spec.config_hash()
    faster = dataclasses.replace(online, anchor=dataclasses.replace(online.anchor, rate=0.1))
    assert dataclasses.replace(spec, online=faster).config_hash() != spec.config_hash()
    with pytest.raises(ConfigError, match="does not sample inside its training"):
        OnlineSpec.of(get_recipe("dpo"))
    for data, message in [
        ([], "online must be an object"),
        ({"draws": [], "speed": 1}, "online has no speed"),
        ({"draws": []}, "no model answers"),
        ({"draws": [{"source": "nobody"}]}, "source must be one of"),
        ({"draws": [{}], "refresh_steps": 0}, "refresh_steps must be a whole number"),
    ]:
        with pytest.raises(ConfigError, match=message):
            OnlineSpec.from_json(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ppo"}, "kind must be dpo for the loss dpo, not 'ppo'"),
        ({"kind": "dpo", "objective": Objective(loss="nll")}, "kind must be sft for the loss nll, not 'dpo'"),
        (
            {"kind": "ppo", "objective": Objective(loss="ppo")},
            "the loss ppo needs new samples at every step: kind must be online",
        ),
        ({"kind": "xpo", "objective": Objective(loss="xpo")}, "the loss xpo needs new samples at every step"),
        ({"kind": "none", "objective": Objective(loss="none")}, "a run needs a loss to train on"),
        ({"kind": "online"}, "online must be given for a run of the kind online"),
        ({"online": OnlineSpec(draws=(Draw(),))}, "online must be given for a run of the kind online"),
        ({"reference": None}, "a dpo run needs a reference"),
        ({"kind": "sft", "objective": Objective(loss="nll"), "anchor": Anchor(kind="ema")}, "anchor is for a run on"),
        ({"kind": "online", "online": OnlineSpec(draws=(Draw(),)), "anchor": Anchor(kind="copy")}, "anchor is for"),
        ({"threads": 0}, "threads must be a whole number ≥ 1"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, cuda:NAME"),
        ({"start": ""}, "start must be a text that is not empty"),
    ],
)
def test_a_run_that_could_not_start_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SPEC, **changes)  # type: ignore[arg-type]


def test_a_spec_file_that_is_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"spec\.json is missing"):
        read_spec(tmp_path)
    for content, message in [
        ("nonsense", "is not JSON"),
        ("[]", "must hold an object"),
        (json.dumps({"run_id": "1", "speed": 3}), "unknown keys: speed"),
        (json.dumps({"run_id": "1"}), "missing"),
        (
            json.dumps({**dataclasses.asdict(SPEC), "objective": {"loss": "dpo", "beta": -1}}),
            "beta must be a number > 0",
        ),
    ]:
        (tmp_path / "spec.json").write_text(content)
        with pytest.raises(ConfigError, match=message):
            read_spec(tmp_path)


def test_the_config_hash_is_about_the_result_and_not_about_places() -> None:
    moved = dataclasses.replace(SPEC, start="/elsewhere", run_id="8", save_every=10)
    assert moved.config_hash() == SPEC.config_hash()
    for changes in ({"seed": 1}, {"snapshot_sha256": "0"}, {"objective": Objective(beta=0.3)}, {"token_budget": 64}):
        assert dataclasses.replace(SPEC, **changes).config_hash() != SPEC.config_hash()  # type: ignore[arg-type]


def test_a_failure_reads_back_and_its_absence_is_none(tmp_path: Path) -> None:
    assert read_failure(tmp_path) is None
    failure = RunFailure(failure_class="out_of_disk", message="no room", step=3)
    write_failure(tmp_path, failure)
    assert read_failure(tmp_path) == failure
