"""Every setting that a loss or an on-policy recipe takes changes what its run does.

A run is told by its metrics and the SHA-256 of its weights: two that are equal in both did the same. What only the
product uses (prompts, judges, review, whose weights) is in tests/apps/training/test_every_key.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefloop.config import KeyInfo, Value, apply_settings, describe
from prefloop.engine import train
from prefloop.losses.registry import LOSSES
from prefloop.policy.loading import save_model
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.objective import Objective
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.prompts import PromptRow, write_prompts
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import Demonstration, RankedGroup
from prefloop.types import TrainingPair

pytestmark = pytest.mark.slow

Run = Callable[[Path], tuple[Any, str]]
# decided outside a training run: whose weights, how many of a student's rows, who judges, what is asked, where answers
# are computed, which is meant to change nothing
ELSEWHERE = {
    "objective.reference",
    "objective.start_from",
    "objective.lambda of gkd",
    "label.judge",
    "score.judge",
    "draws.engine",
}
OTHER: dict[str, Value] = {  # a value that must show in two steps of a tiny model
    "objective.clip": 1e-6,
    "objective.weight_decay": 0.5,
    "objective.epochs": 2,
    "objective.batch": 3,
    "objective.lr": 3e-3,
    "objective.warmup": 2,
    "objective.b": 30.0,
    "objective.n": 2,
    "objective.gamma": 0.7,
    "objective.delta": 200.0,
    "objective.alpha": 3.0,
    "objective.clip_range": 1e-3,
    "objective.missing_eos_penalty": 2.0,
    "draws.temperature": 0.3,
    "draws.top_p": 0.3,
    "draws.top_k": 2,
    "draws.max_tokens": 4,
    "refresh": "every:2",
    "label.noise": 0.5,
    "anchor.rate": 0.9,
    "anchor.every": 1,
    "memory.weight": 9.0,
    "memory.order": "logged",
}


def another(info: KeyInfo) -> Value:
    """A valid value other than the default."""
    bare = ".".join(part for part in info.key.split(".") if not part.isdigit())
    if bare in OTHER and OTHER[bare] != info.default:
        return OTHER[bare]
    if info.type == "choice":
        return next(name for name in info.choices if name != info.default)
    if info.type == "integer":
        return int(info.default) + 1
    return 0.5 * float(info.default) + 0.2


def story(run_dir: Path) -> tuple[Any, str]:
    assert train.run(run_dir).exit_code == 0
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text("utf-8").splitlines()]
    metrics = [event["values"] for event in events if event["type"] == "metric"]
    manifest = json.loads((run_dir / "final" / "manifest.json").read_text("utf-8"))
    return metrics, str(manifest["fingerprint"])


# --- runs on a snapshot -----------------------------------------------------------------------------------------------

OFFLINE = [name for name, loss in LOSSES.items() if loss.rows != "none" and not Objective(loss=name).only_in_steps]
WORDS = ["good", "bad", "fair", "fine", "poor", "rich"]


def rows_of(loss: str) -> list[Any]:
    rows: list[Any] = []
    for at, word in enumerate(WORDS):
        prompt, first, second = f"Say {at}.", f" {word}" * (1 + at % 3), f" not {word}"
        if LOSSES[loss].rows == "demonstrations":
            rows.append(Demonstration(f"r{at}", prompt, first))
        elif LOSSES[loss].rows == "answers":
            rows.append(Demonstration(f"r{at}", prompt, first, desirable=at % 2 == 0))
        elif LOSSES[loss].rows == "groups":
            rows.append(RankedGroup(f"r{at}", prompt, (first, second, " so"), (1.0, 0.0, 2.0)))
        else:
            soft = not LOSSES[loss].hard_labels
            p = (1.0, 0.0, 0.7 if soft else 1.0)[at % 3]
            rows.append(TrainingPair(id=f"r{at}", prompt=prompt, first=first, second=second, p_first=p))
    return rows


@pytest.fixture(scope="module")
def other_policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that is nobody's start: a reference, or a teacher, that is somewhere else."""
    policy = tiny_policy(seed=7, chat=True)
    directory = tmp_path_factory.mktemp("models") / "other"
    save_model(policy.model, policy.tokenizer, directory)
    return directory


@pytest.mark.parametrize("loss", OFFLINE)
def test_every_number_of_a_loss_changes_its_run(make_run: Any, other_policy_dir: Path, loss: str) -> None:
    kind = Objective(loss=loss).run_kind
    usual = {"batch": 2, "lr": 1e-3}

    def told(name: str, **numbers: Any) -> tuple[Any, str]:
        run_dir = make_run(
            name, kind=kind, rows=rows_of(loss), objective=usual | numbers, reference=str(other_policy_dir)
        )
        return story(run_dir)

    begin = told("usual")
    assert told("again") == begin
    for info in describe(Objective(loss=loss, **usual)):
        key = f"objective.{info.key}"
        if key in ELSEWHERE or f"{key} of {loss}" in ELSEWHERE:
            continue
        field = "lambda_" if info.key == "lambda" else info.key
        changed = told(info.key, **{field: another(dataclasses.replace(info, key=key))})
        assert changed != begin, f"{key} changes nothing for {loss}"


# --- on-policy runs ----------------------------------------------------------------------------------------------

SMALL: dict[str, Value] = {"draws.max_tokens": 6, "objective.batch": 4, "objective.lr": 1e-3}
ONLINE = [name for name, recipe in CATALOGUE.items() if recipe.is_online]
SAID = {
    "type": "override", "pair": "1", "prompt": "Say one.", "first": " good", "second": " bad", "p_first": 1.0,
}  # fmt: skip


@pytest.fixture
def run_recipe(tmp_path: Path, other_policy_dir: Path, tiny_policy_dir: Path, reward_model_dir: Path) -> Any:
    """run_recipe(recipe, **spec): the story of two steps of it, and where its log lies."""
    numbers: Iterator[int] = iter(range(1000))

    def run(recipe: Recipe, **more: Any) -> tuple[tuple[Any, str], Path]:
        run_dir = tmp_path / f"run{next(numbers)}"
        run_dir.mkdir()
        info = write_prompts(run_dir / "prompts.jsonl", [PromptRow(f"p{at}", f"Say {at}.") for at in range(8)])
        (run_dir / "inbox.jsonl").write_text(json.dumps(SAID) + "\n", "utf-8")
        spec = RunSpec(
            run_id=run_dir.name,
            kind="online",
            start=str(tiny_policy_dir),
            snapshot="prompts.jsonl",
            snapshot_sha256=info.sha256,
            reference=str(other_policy_dir),
            objective=recipe.objective,
            adapter=recipe.adapter,
            online=OnlineSpec.of(recipe, reward_model=str(reward_model_dir), **more),
        )
        write_spec(run_dir, spec)
        return story(run_dir), run_dir / "events.jsonl"

    return run


def keys_of_a_run(recipe: Recipe) -> list[KeyInfo]:
    parts = {"draws", "refresh", "pairing", "label", "memory", "objective", "anchor"}
    if recipe.pairing.kind == "none":
        parts.remove("label")  # of the reward model, which is made before
    return [
        info
        for info in describe(recipe)
        if info.group in parts and info.key not in ELSEWHERE and (len(info.choices) != 1 or info.prefixes)
    ]


@pytest.mark.parametrize("name", ONLINE)
def test_every_key_of_a_step_refreshed_recipe_changes_its_run(run_recipe: Any, name: str) -> None:
    small = SMALL | {"objective.passes": 2}  # of which a clip is no clip in the first
    usual = {key: value for key, value in small.items() if key in {info.key for info in describe(CATALOGUE[name])}}
    recipe = apply_settings(CATALOGUE[name], usual)
    begin, _ = run_recipe(recipe)
    assert run_recipe(recipe)[0] == begin
    paired = "pairing.kind" in {info.key for info in keys_of_a_run(recipe)}
    for info in keys_of_a_run(recipe):
        chosen = {info.key: another(info)}
        if info.key == "draws.n" and paired:
            chosen["pairing.kind"] = "first-round"
        if info.key == "pairing.kind":
            continue  # of two answers every pairing is the same: below
        changed, _ = run_recipe(apply_settings(recipe, chosen))
        assert changed != begin, f"{info.key} changes nothing"


def test_every_pairing_inside_a_step_is_another(run_recipe: Any) -> None:
    recipe = apply_settings(CATALOGUE["online-ipo"], SMALL | {"draws.n": 4, "pairing.kind": "first-round"})
    kinds = ("best-against-worst", "first-round", "tournament", "all-ranked")
    stories = [run_recipe(apply_settings(recipe, {"pairing.kind": kind}))[0][1] for kind in kinds]
    assert len(set(stories)) == len(kinds)


@pytest.mark.parametrize("name", ["tandem-ipo", "tandem-bo2"])
def test_every_key_of_a_replay_changes_its_run(run_recipe: Any, name: str) -> None:
    online = apply_settings(CATALOGUE[CATALOGUE[name].needs[0]], SMALL | {"objective.epochs": 2})
    _, log = run_recipe(online)
    recipe = apply_settings(CATALOGUE[name], {"objective.lr": 1e-3})
    begin, _ = run_recipe(recipe, replay=(str(log),))
    assert len(begin[0]) == 4  # the steps that were logged
    for info in keys_of_a_run(recipe):
        if info.key == "memory.run":
            continue  # which log that is, the product says
        changed, _ = run_recipe(apply_settings(recipe, {info.key: another(info)}), replay=(str(log),))
        assert changed != begin, f"{info.key} changes nothing"
    assert run_recipe(recipe, replay=(str(log),), replay_seed=1)[0] != begin


@pytest.mark.parametrize("name", ["oaif-dpo", "rlhf"])
def test_an_adapters_numbers_change_its_run(run_recipe: Any, name: str) -> None:
    usual = {key: value for key, value in SMALL.items() if key in {info.key for info in describe(CATALOGUE[name])}}
    recipe = apply_settings(CATALOGUE[name], usual | {"adapter.kind": "lora"})
    begin, _ = run_recipe(recipe)
    chosen: dict[str, Value] = {
        "rank": 2,
        "alpha": 64,
        "dropout": 0.5,
        "targets": "q_proj",
        "merge": False,
        "kind": "none",
    }
    for key, value in chosen.items():
        assert run_recipe(apply_settings(recipe, {f"adapter.{key}": value}))[0] != begin, key
