"""Step-refreshed runs: what they say, that they repeat, and that nothing disturbs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from prefloop.engine import train
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events, write_inbox
from prefloop.recipes.recipe import Memory

MakeOnline = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]
METHODS = ("dpo", "ipo", "ppo", "j-bond", "bond")


def events_of(run_dir: Path, kind: str) -> list[dict[str, object]]:
    return [event.data for event in drop_superseded(read_events(run_dir / "events.jsonl")[0]) if event.type == kind]


def leave_after(n: int) -> Callable[[], bool]:
    """Ask to leave when it has been asked n times before."""
    asked = iter(range(n))
    return lambda: next(asked, None) is None


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_left_after_any_step_equals_an_undisturbed_one(
    make_online: MakeOnline, story: Story, method: str
) -> None:
    straight, broken = make_online(method, "straight"), make_online(method, "broken", save_every=2)
    assert train.run(straight).exit_code == 0
    for _ in range(2):
        assert train.run(broken, should_leave=leave_after(1)).exit_code == 75
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)
    assert events_of(broken, "sample") == events_of(straight, "sample")
    metrics, _ = story(straight)
    assert [step for step, _ in metrics] == [1, 2, 3]  # 12 prompts, 4 a step
    assert len({values["loss"] for _, values in metrics}) == 3


def test_the_value_head_stands_beside_the_result(make_online: MakeOnline) -> None:
    run_dir = make_online("ppo")
    train.run(run_dir)
    head = load_file(run_dir / "final" / "modules.safetensors")
    assert float(head["outer.weight"].abs().sum()) > 0  # it began at zero
    metrics = events_of(run_dir, "metric")[0]["values"]
    names = {"objective/kl", "objective/entropy", "objective/scores", "objective/rlhf_reward", "loss/policy_avg",
             "loss/value_avg", "policy/approxkl_avg", "policy/clipfrac_avg", "val/ratio"}  # fmt: skip
    assert names <= set(metrics)  # type: ignore[arg-type]


def test_a_policy_that_has_not_moved_has_no_kl(make_online: MakeOnline) -> None:
    run_dir = make_online("ppo", objective={"passes": 1, "minibatches": 1})
    train.run(run_dir)
    first = events_of(run_dir, "metric")[0]["values"]
    assert first["objective/kl"] == 0.0  # type: ignore[index]
    assert first["val/ratio"] == 1.0  # type: ignore[index]


def test_an_override_is_replayed_with_its_weight_and_survives_a_resume(make_online: MakeOnline, story: Story) -> None:
    word = {"pair": "c1", "prompt": "Say one 0.", "first": "yes", "second": "no", "p_first": 1.0}
    straight, broken, without = (make_online("dpo", name, objective={"epochs": 2}) for name in ("a", "b", "c"))
    for run_dir in (straight, broken):
        train.run(run_dir, should_leave=leave_after(2))
        write_inbox(run_dir / "inbox.jsonl", "override", **word)
    train.run(straight)
    train.run(broken, should_leave=leave_after(2))  # hears it before step 3, and leaves after step 4
    shutil.rmtree(broken / "step-000004")  # as if it had been killed before it could save
    train.run(broken)
    train.run(without)
    assert story(broken) == story(straight)
    replayed = [values.get("memory/overrides", 0.0) for _, values in story(straight)[0]]
    assert replayed == [0, 0, 1, 1, 1, 1]
    assert story(straight)[0][:2] == story(without)[0][:2]
    assert story(straight)[1] != story(without)[1]


def test_a_changed_setting_takes_effect_at_the_next_step(make_online: MakeOnline) -> None:
    run_dir = make_online("dpo")
    train.run(run_dir, should_leave=leave_after(1))
    write_inbox(run_dir / "inbox.jsonl", "settings", set={"objective.lr": 0.5e-3})
    write_inbox(run_dir / "inbox.jsonl", "settings", set={"objective.batch": 7})  # decides what the run is: refused
    train.run(run_dir)
    rates = [data["values"]["learning_rate"] for data in events_of(run_dir, "metric")]  # type: ignore[index]
    assert rates == [1e-3, 0.5e-3, 0.5e-3]
    assert any("objective.batch can't be changed" in str(data["message"]) for data in events_of(run_dir, "log"))


def test_answers_refreshed_every_two_steps_are_the_same_after_a_resume_between(
    make_online: MakeOnline, story: Story
) -> None:
    straight, broken = (make_online("ipo", name, online={"refresh_steps": 2}) for name in ("straight", "broken"))
    train.run(straight)
    train.run(broken, should_leave=leave_after(1))
    train.run(broken)
    assert story(broken) == story(straight)
    assert [data["drawn"] for data in events_of(straight, "sample")] == [1] * 8 + [3] * 4


@pytest.mark.parametrize("method", ["ppo", "j-bond"])
def test_a_run_goes_on_from_another_with_all_that_stood_beside_its_weights(
    make_online: MakeOnline, method: str
) -> None:
    first = make_online(method, "first")
    train.run(first)
    at_its_end = first / "step-000003"
    second = make_online(
        method, "second", start=str(at_its_end), online={"carry": str(at_its_end), "first_step": 3, "total_steps": 6}
    )
    assert train.run(second, should_leave=leave_after(0)).exit_code == 75  # saves before it took a step
    for name in ("optimizer", "anchor", "modules", "modules_optimizer", "counts"):
        before, after = (path / "training" / f"{name}.safetensors" for path in (at_its_end, second / "step-000000"))
        assert before.exists() == after.exists()
        if before.exists():
            assert all((value == load_file(after)[key]).all() for key, value in load_file(before).items())
    assert train.run(second).exit_code == 0


def test_logged_order_replays_an_online_run_bit_for_bit(make_online: MakeOnline, story: Story) -> None:
    online = make_online("ipo", "online")
    train.run(online)
    logs = {"replay": (str(online / "events.jsonl"),)}
    same = make_online("ipo", "logged", online={**logs, "memory": Memory(kind="replay", order="logged")})
    other = make_online("ipo", "uniform", online={**logs, "memory": Memory(kind="replay", order="uniform")})
    assert train.run(same).exit_code == 0
    assert train.run(other).exit_code == 0
    assert story(same)[1] == story(online)[1]
    assert [values["loss"] for _, values in story(same)[0]] == [values["loss"] for _, values in story(online)[0]]
    assert story(other)[1] != story(online)[1]


def test_an_adapter_learns_online_and_its_resume_leaves_no_trace(make_online: MakeOnline, story: Story) -> None:
    adapter = Adapter(kind="lora", rank=4)
    straight, broken = (make_online("ppo", name, adapter=adapter) for name in ("straight", "broken"))
    assert train.run(straight).exit_code == 0
    assert train.run(broken, should_leave=leave_after(2)).exit_code == 75
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)
