from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from prefloop.config import ConfigError
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import RunFailure, RunSpec, read_failure, read_spec, write_failure, write_spec

SPEC = RunSpec(run_id="7", kind="dpo", start="/models/sft", reference="/models/sft", objective=Objective(beta=0.2))


def test_a_spec_reads_back_equal(tmp_path: Path) -> None:
    write_spec(tmp_path / "run", SPEC)
    assert read_spec(tmp_path / "run") == SPEC


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ppo"}, "kind must be one of sft, reward-model, dpo"),
        ({"kind": "sft"}, "a sft run needs the loss nll, not dpo"),
        ({"reference": None}, "a dpo run needs a reference"),
        ({"threads": 0}, "threads must be a whole number ≥ 1"),
        ({"device": "tpu"}, "device must be one of cpu, cuda, cuda:NAME"),
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
