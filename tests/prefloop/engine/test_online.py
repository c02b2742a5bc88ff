"""On-policy runs: what they say, that they repeat, and that nothing disturbs them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from safetensors.torch import load_file

from prefloop.engine import context, train
from prefloop.engine.online import samplers
from prefloop.engine.online.samplers import OwnSampler
from prefloop.engine.online.stream import records_of
from prefloop.policy.loading import Policy, load_policy
from prefloop.policy.scoring import score_groups
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import drop_superseded, read_events, write_inbox
from prefloop.recipes.recipe import Draw, Memory, Pairing
from tests.prefloop.tiny import save_tiny_policy

MakeOnline = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]
METHODS = ("dpo", "ipo", "ppo", "j-bond", "bond")


def events_of(run_dir: Path, kind: str) -> list[dict[str, object]]:
    return [event.data for event in drop_superseded(read_events(run_dir / "events.jsonl")[0]) if event.type == kind]


def leave_after(n: int) -> Callable[[], bool]:
    """Ask to leave when it has been asked n times before."""
    asked = iter(range(n))
    return lambda: next(asked, None) is None


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_value_head_stands_beside_the_result(make_online: MakeOnline) -> None:
    run_dir = make_online("ppo")
    train.run(run_dir)
    head = load_file(run_dir / "final" / "modules.safetensors")
    assert float(head["outer.weight"].abs().sum()) > 0  # it began at zero
    metrics = events_of(run_dir, "metric")[0]["values"]
    names = {"objective/kl", "objective/entropy", "objective/scores", "objective/rlhf_reward", "loss/policy_avg",
             "loss/value_avg", "policy/approxkl_avg", "policy/clipfrac_avg", "val/ratio"}  # fmt: skip
    assert names <= set(metrics)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_policy_that_has_not_moved_has_no_kl(make_online: MakeOnline) -> None:
    run_dir = make_online("ppo", objective={"passes": 1, "minibatches": 1})
    train.run(run_dir)
    first = events_of(run_dir, "metric")[0]["values"]
    assert first["objective/kl"] == 0.0  # type: ignore[index]
    assert first["val/ratio"] == 1.0  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bond", "j-bond", "ipo"])
def test_kl_and_entropy_are_of_the_policys_own_answers_against_the_initial_one(
    make_online: MakeOnline, method: str, tiny_policy_dir: Path, tmp_path: Path
) -> None:
    """A second road: the log-probs of the first step's own answers, as its events tell them."""
    start = save_tiny_policy(tmp_path / "moved", seed=11, chat=True)
    run_dir = make_online(method, start=str(start))
    train.run(run_dir)
    first = events_of(run_dir, "metric")[0]["values"]
    moved, initial = load_policy(start), load_policy(tiny_policy_dir)
    logged = records_of(read_events(run_dir / "events.jsonl")[0])[1].answers
    items = [one.item(one.by("current")) for one in logged]
    ours, theirs = ([value for row in score_groups(one, items) for value in row] for one in (moved, initial))
    assert first["objective/entropy"] == pytest.approx(-sum(ours) / len(ours), rel=1e-4)  # type: ignore[index]
    kl = sum(a - b for a, b in zip(ours, theirs, strict=True)) / len(ours)
    assert first["objective/kl"] == pytest.approx(kl, rel=1e-3, abs=1e-4)  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "absent"),
    [({"online": {"refresh_steps": 2}}, [2]), ({"objective": {"reference": "previous"}}, [1, 2])],
)
def test_stale_answers_and_another_reference_give_no_kl(
    make_online: MakeOnline, more: dict[str, object], absent: list[int]
) -> None:
    run_dir = make_online("ipo", **more)  # type: ignore[arg-type]
    train.run(run_dir)
    for event in events_of(run_dir, "metric")[:2]:
        assert ("objective/kl" not in event["values"]) is (event["step"] in absent)  # type: ignore[operator]


def test_tempered_answers_give_neither_kl_nor_entropy(make_online: MakeOnline) -> None:
    run_dir = make_online("dpo")  # it draws at 0.9
    train.run(run_dir)
    assert not {"objective/kl", "objective/entropy"} & set(events_of(run_dir, "metric")[0]["values"])  # type: ignore[call-overload]


@pytest.mark.slow
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


@pytest.mark.slow
def test_answers_refreshed_every_two_steps_are_the_same_after_a_resume_between(
    make_online: MakeOnline, story: Story
) -> None:
    straight, broken = (make_online("ipo", name, online={"refresh_steps": 2}) for name in ("straight", "broken"))
    train.run(straight)
    train.run(broken, should_leave=leave_after(1))
    train.run(broken)
    assert story(broken) == story(straight)
    assert [data["drawn"] for data in events_of(straight, "sample")] == [1] * 8 + [3] * 4


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_adapter_learns_online_and_its_resume_leaves_no_trace(make_online: MakeOnline, story: Story) -> None:
    adapter = Adapter(kind="lora", rank=4)
    straight, broken = (make_online("ppo", name, adapter=adapter) for name in ("straight", "broken"))
    assert train.run(straight).exit_code == 0
    assert train.run(broken, should_leave=leave_after(2)).exit_code == 75
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)


class Counted(OwnSampler):
    """The engine itself, and how often it was given weights; the text stands for the norm of what it was given."""

    loads: ClassVar[list[float]] = []
    closed: ClassVar[list[bool]] = []

    def load(self, policy: Policy) -> None:
        super().load(policy)
        self.loads.append(float(sum(value.detach().double().square().sum() for value in policy.model.parameters())))

    def close(self) -> None:
        super().close()
        self.closed.append(True)


@pytest.mark.slow
def test_the_engine_that_draws_is_given_the_weights_of_each_refresh(
    make_online: MakeOnline, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, counted = (make_online("ipo", name, objective={"epochs": 2}) for name in ("plain", "counted"))
    train.run(plain)
    monkeypatch.setattr(samplers, "make_sampler", lambda draw, **_: Counted())
    Counted.loads.clear()
    Counted.closed.clear()
    assert train.run(counted).exit_code == 0
    assert len(set(Counted.loads)) == len(Counted.loads) == 6  # one a step, each time other weights
    assert Counted.closed == [True]
    assert story(counted) == story(plain)


@pytest.mark.slow
def test_a_policy_that_stands_still_is_given_once(make_online: MakeOnline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "make_sampler", lambda draw, **_: Counted())
    Counted.loads.clear()
    still = {"draws": (Draw(source="current", max_tokens=6), Draw(source="initial", n=2, max_tokens=6))}
    assert train.run(make_online("ipo", online=still | {"pairing": Pairing(kind="first-round")})).exit_code == 0
    assert len(Counted.loads) == 3 + 1


@pytest.mark.slow
def test_a_slow_step_says_how_far_it_is(make_online: MakeOnline, monkeypatch: pytest.MonkeyPatch) -> None:
    at = itertools.count()
    monkeypatch.setattr(context, "monotonic", lambda: float(next(at)))
    run_dir = make_online("ipo", objective={"batch": 12}, token_budget=64)
    train.run(run_dir)
    told = [data for data in events_of(run_dir, "progress") if data["phase"] not in ("loading", "saving")]
    assert {(data["phase"], data["step"]) for data in told} == {("drawing", 1), ("learning", 1)}
    drawn = [data["done"] for data in told if data["phase"] == "drawing"]
    assert drawn == sorted(drawn)
    assert {data["total"] for data in told if data["phase"] == "drawing"} == {12}


@pytest.mark.slow
def test_a_quick_step_says_nothing_of_itself(make_online: MakeOnline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "monotonic", lambda: 0.0)
    run_dir = make_online("ipo")
    train.run(run_dir)
    assert {data["phase"] for data in events_of(run_dir, "progress")} == {"loading", "saving"}


@pytest.mark.slow
def test_a_run_is_left_between_two_answers_of_a_drawing(make_online: MakeOnline, story: Story) -> None:
    straight, left = make_online("ipo", "straight"), make_online("ipo", "left")
    train.run(straight)
    looks: list[int] = []

    def at_once() -> bool:
        looks.append(1)
        return len(looks) == 2  # after the second answer of the first step

    ended = train.run(left, should_leave=lambda: len(looks) >= 2, at_once=at_once)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.step) == ("left", 0)
    assert events_of(left, "sample") == []
    assert train.run(left).exit_code == 0
    assert story(left) == story(straight)
