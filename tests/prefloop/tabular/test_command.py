"""The command: what it prints, and that it refuses what it can't do with one line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from prefloop.recipes.catalogue import list_recipes
from prefloop.tabular import draws
from prefloop.tabular.__main__ import main

T5 = ["--reference", "0.1,0.2,0.3,0.25,0.15", "--reward", "0,1,0.5,2,-1"]
DATA = ["--data", "0.4,0.3,0.15,0.1,0.05"]
TEACHER = ["--teacher", "0.4,0.3,0.15,0.1,0.05"]


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    code = main([*argv, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


@pytest.mark.slow
def test_the_module_prints_what_design_promises() -> None:
    command = [sys.executable, "-m", "prefloop.tabular", "rso", *T5, "--set", "filter.beta=0.5", "--json"]
    done = subprocess.run([*command, "--set", "draws.n=8"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert list(found)[:5] == ["policy", "kl", "win_rate", "reward", "steps"]
    assert found["acceptance"] == pytest.approx(0.2942065539, abs=1e-9)
    assert sum(found["data_law"]) == pytest.approx(1)
    assert len(found["finite_data_law"]) == len(found["finite_data_law_se"]) == 5


@pytest.mark.parametrize("recipe", [recipe.name for recipe in list_recipes()])
def test_every_recipe_of_the_catalogue_runs_for_two_steps(capsys: pytest.CaptureFixture[str], recipe: str) -> None:
    given = {"sft": DATA, "spin": DATA, "gkd": TEACHER, "on-policy-distillation": TEACHER}.get(recipe, [])
    few = ["--set", "draws.n=4"] if recipe in ("slic-hf", "best-of-n", "iterative-dpo", "rs-ft", "rso") else []
    found = _json(capsys, recipe, *T5, *given, *few, "--steps", "2", "--lr", "0.1")
    assert sum(found["policy"]) == pytest.approx(1)
    assert found["kl"] >= 0
    assert 0 <= found["win_rate"] <= 1


def test_a_preference_needs_no_reward_and_a_reward_may_begin_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    rows = "0.5,0.9,0.1;0.1,0.5,0.9;0.9,0.1,0.5"
    found = _json(capsys, "online-ipo", "--reference", "0.5,0.3,0.2", "--preference", rows, "--set", "objective.tau=.5")
    assert found["policy"] == pytest.approx((0.5046741497, 0.2469505431, 0.2483753072), abs=1e-8)
    assert found["reward"] is None
    found = _json(capsys, "dpo", "--reference", "0.5,0.5", "--reward", "-1,0", "--set", "objective.beta=1")
    assert found["policy"][1] == pytest.approx(0.7310585786, abs=1e-9)


def test_rounds_are_printed_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "iterative-bond", *T5, "--set", "objective.n=2", "--rounds", "2")
    assert [round(one["kl"], 9) for one in found["rounds"]] == [0.180155335, 0.591804634]


def test_the_table_says_what_the_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bond-backward", *T5, "--set", "objective.n=4"]) == 0
    printed = capsys.readouterr().out
    assert "0.218386528" in printed
    assert "first term" in printed


def test_what_is_too_much_to_enumerate_is_sampled_with_its_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["best-of-n", *T5, "--set", "draws.n=4"]
    exact = _json(capsys, *command)
    assert "se" not in exact
    monkeypatch.setattr(draws, "MOST_GROUPS", 1)
    monkeypatch.setattr(draws, "MONTE_CARLO_GROUPS", 300)
    sampled = _json(capsys, *command, "--seed", "1")
    assert _json(capsys, *command, "--seed", "1") == sampled
    assert _json(capsys, *command, "--seed", "2")["policy"] != sampled["policy"]
    for found, wanted, error in zip(sampled["policy"], exact["policy"], sampled["se"], strict=True):
        assert found == pytest.approx(wanted, abs=5 * error + 1e-3)
        assert error < 0.03


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dop", *T5], "no recipe 'dop'"),
        (["dpo", "--reference", "0.5,0.6", "--reward", "0,1"], "--reference must be probabilities that sum to 1"),
        (["dpo", "--reference", "0.5,0.5,0", "--reward", "0,1,2"], "--reference must be positive"),
        (["dpo", "--reference", "0.5,x", "--reward", "0,1"], "--reference must be numbers"),
        (["dpo", "--reference", "0.5,0.5", "--reward", "0,1,2"], "--reward must have 2 numbers"),
        (["dpo", "--reference", "0.5,0.5"], "give --reward, or --preference"),
        (["dpo", "--reference", "0.5,0.5", "--preference", "0.5,0.9;0.9,0.5"], "must be 1"),
        (["best-of-n", "--reference", "0.5,0.5", "--preference", "0.5,0.9;0.1,0.5"], "give --reward"),
        (["gkd", *T5], "gkd needs --teacher"),
        (["spin", *T5], "spin needs --data"),
        (["dpo", *T5, *TEACHER], "--teacher means nothing to dpo"),
        (["rs-ft", *T5, "--mu", "0.2,0.2,0.2,0.2,0.2"], "--mu means nothing to rs-ft"),
        (["dpo", *T5, "--rounds", "2"], "dpo has no rounds"),
        (["dpo", *T5, "--lr", "0.1"], "give --steps too"),
        (["dpo", *T5, "--steps", "-1"], "--steps must be a whole number ≥ 0"),
        (["dpo", *T5, "--steps", "1", "--lr", "0"], "--lr must be a number > 0"),
        (["dpo", *T5, "--set", "objective.lr=1"], "objective.lr means nothing in the laboratory"),
        (["rs-ft", *T5, "--set", "draws.temperature=0.7"], "draws.temperature means nothing in the laboratory"),
        (["dpo", *T5, "--set", "objective.gamma=1"], "no setting 'objective.gamma'"),
        (["dpo", *T5, "--set", "objective.beta"], "--set takes key=value"),
        (["dpo", *T5, "--labels", "hard", "--set", "label.labels=soft"], "different things"),
        (["rest", *T5, "--set", "filter.thresholds=5"], "no outcome passes the filter"),
        (["rest", *T5, "--set", "filter.thresholds=1,0"], "must be rising rewards"),
        (["dpo", *T5, "--set", "filter.thresholds=0.5"], "no setting 'filter.thresholds'"),
        (["ipo", *T5, "--set", "objective.tau=0.001", "--steps", "99", "--lr", "1e300"], "give a smaller --lr"),
        (["iterative-dpo", *T5, "--set", "objective.reference=checkpoint:x"], "no checkpoint"),
    ],
)
def test_what_cant_be_done_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(argv) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
