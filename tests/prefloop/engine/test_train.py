from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.checkpoints import verify_manifest
from prefloop.engine import resume, run, train
from prefloop.engine.examples import batch_of, encode_pairs
from prefloop.policy.loading import load_policy, load_reward_model
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.scoring import score_groups
from prefloop.recipes.events import Event, read_events
from prefloop.recipes.recipe import Anchor
from prefloop.recipes.runspec import EXIT_LEFT, read_spec, write_spec
from prefloop.recipes.snapshots import read_pairs
from prefloop.types import TrainingPair

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


def events_of(run_dir: Path) -> list[Event]:
    return read_events(run_dir / "events.jsonl")[0]


def leave_before(step: int, run_dir: Path) -> Callable[[], bool]:
    """A SIGTERM that arrives while the step before `step` is worked on."""
    return lambda: any(event.type == "metric" and (event.step or 0) >= step - 1 for event in events_of(run_dir))


def plain_dpo(run_dir: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same training by a loop of its own: one pair at a time, unpacked, nothing accumulated or cached."""
    spec = read_spec(run_dir)
    policy, reference = load_policy(spec.start), load_policy(spec.start)
    examples = encode_pairs(read_pairs(run_dir / "snapshot.jsonl"), policy.tokenizer, max_length=None)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=spec.objective.lr, weight_decay=0.0)

    def logp(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
        ids = torch.tensor([[*prompt, *answer]])
        logps = model(ids).logits[0].log_softmax(-1)
        return sum(logps[len(prompt) - 1 + at, token] for at, token in enumerate(answer))  # type: ignore[return-value]

    losses = []
    for step in range(1, len(examples) // spec.objective.batch + 1):
        batch = batch_of(examples, step, batch=spec.objective.batch, seed=spec.seed)
        terms, weights = [], []
        for row in batch:
            first, second = row.item.completions
            ours = logp(policy.model, row.item.prompt_ids, first) - logp(policy.model, row.item.prompt_ids, second)
            with torch.no_grad():
                theirs = logp(reference.model, row.item.prompt_ids, first) - logp(
                    reference.model, row.item.prompt_ids, second
                )
            h = spec.objective.beta * (ours - theirs)
            logsigmoid = torch.nn.functional.logsigmoid
            terms.append(-row.p_first * logsigmoid(h) - (1 - row.p_first) * logsigmoid(-h))
            weights.append(row.weight)
        loss = sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), spec.objective.clip)
        optimizer.step()
        losses.append(float(loss.detach()))  # type: ignore[union-attr]
        rate = {"ema": spec.anchor.rate, "copy": float(step % spec.anchor.every == 0)}.get(spec.anchor.kind, 0.0)
        with torch.no_grad():
            for theirs, ours in zip(reference.model.parameters(), policy.model.parameters(), strict=True):
                theirs.copy_((1 - rate) * theirs + rate * ours)
    return losses, dict(policy.model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("anchor", [Anchor(), Anchor(kind="ema", rate=0.7), Anchor(kind="copy", every=2)])
def test_a_run_agrees_with_a_plain_loop_that_packs_and_caches_nothing(
    anchor: Anchor, make_run: MakeRun, story: Story
) -> None:
    run_dir = make_run(token_budget=128, anchor=anchor)
    losses, weights = plain_dpo(run_dir)
    ended = train.run(run_dir)
    assert ended.exit_code == 0
    metrics, _ = story(run_dir)
    assert [values["loss"] for _, values in metrics] == pytest.approx(losses, abs=2e-5)
    trained = dict(load_policy(run_dir / "final").model.named_parameters())
    for name, value in weights.items():
        # AdamW's first steps are ±lr each however small the gradient, so a rounding of a sign is worth 2 lr
        assert (trained[name] - value).abs().mean() < 2e-5, name


@pytest.mark.slow
def test_the_first_loss_of_dpo_is_log_2_and_training_prefers_what_is_preferred(make_run: MakeRun, story: Story) -> None:
    rows = [TrainingPair(f"r{n}", f"Say {n}.", " yes", " no", p_first=float(n % 3 > 0)) for n in range(12)]
    rows = [row if row.p_first else TrainingPair(row.id, row.prompt, " no", " yes", p_first=0.0) for row in rows]
    run_dir = make_run(rows=rows, objective={"epochs": 6, "lr": 3e-3})
    assert train.run(run_dir).exit_code == 0
    metrics, _ = story(run_dir)
    assert metrics[0][1]["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert metrics[0][1]["rewards/margins"] == metrics[0][1]["rewards/accuracies"] == 0.0  # h is 0, not nearly so
    assert metrics[-1][1]["rewards/accuracies"] == 1.0
    assert metrics[-1][1]["loss"] < 0.3
    assert [step for step, _ in metrics] == list(range(1, 19))
    assert metrics[-1][1]["epoch"] == 6.0


@pytest.mark.slow
def test_a_reward_model_starts_from_a_policy_and_learns_to_order(make_run: MakeRun, story: Story) -> None:
    rows = [TrainingPair(f"r{n}", f"Say {n}.", " yes", " no", p_first=1.0) for n in range(12)]
    run_dir = make_run(kind="reward-model", rows=rows, objective={"epochs": 8})
    assert train.run(run_dir).exit_code == 0
    metrics, _ = story(run_dir)
    assert metrics[0][1]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # the head starts at zero
    assert metrics[-1][1]["rewards/accuracies"] == 1.0
    assert load_reward_model(run_dir / "final").model.config.num_labels == 1


@pytest.mark.slow
def test_sft_makes_the_demonstrations_likelier(make_run: MakeRun, story: Story, tiny_policy_dir: Path) -> None:
    run_dir = make_run(kind="sft", objective={"epochs": 3, "lr": 1e-2})
    assert train.run(run_dir).exit_code == 0
    metrics, _ = story(run_dir)
    assert metrics[-1][1]["loss"] < metrics[0][1]["loss"] - 1


@pytest.mark.slow
def test_a_result_has_no_optimizer_and_a_checkpoint_has(make_run: MakeRun) -> None:
    run_dir = make_run(save_every=2, keep_last=1)
    train.run(run_dir)
    assert not (run_dir / "final" / "training").exists()
    manifest = verify_manifest(run_dir / "final")
    assert (manifest["step"], manifest["config_hash"]) == (5, read_spec(run_dir).config_hash())
    assert [path.name for path in resume.step_dirs(run_dir)] == ["step-000004"]
    assert (run_dir / "step-000004" / "training" / "optimizer.safetensors").exists()
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".safetensors", ".jinja", ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "tr-dpo", "kto", "reward-model", "sft"])
def test_a_run_that_leaves_and_comes_back_equals_one_that_stayed(kind: str, make_run: MakeRun, story: Story) -> None:
    more: dict[str, Any] = (
        {"kind": "dpo", "anchor": Anchor(kind="ema", rate=0.3)} if kind == "tr-dpo" else {"kind": kind}
    )
    straight, broken = (make_run(name, objective={"epochs": 2}, **more) for name in ("straight", "broken"))
    train.run(straight)
    for step in (3, 4, 8):
        assert train.run(broken, should_leave=leave_before(step, broken)).exit_code == EXIT_LEFT
    torch.manual_seed(123)  # what happened elsewhere must not matter
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)


@pytest.mark.slow
def test_leaving_before_the_first_step_loses_nothing(make_run: MakeRun, story: Story) -> None:
    straight, broken = make_run("straight"), make_run("broken")
    train.run(straight)
    assert train.run(broken, should_leave=lambda: True).exit_code == EXIT_LEFT
    assert train.run(broken).exit_code == 0
    assert story(broken) == story(straight)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate", "delete", "flip", "manifest", "state"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(damage: str, make_run: MakeRun, story: Story) -> None:
    straight, broken = (make_run(name, save_every=1) for name in ("straight", "broken"))
    train.run(straight)
    train.run(broken, should_leave=leave_before(5, broken))
    newest = broken / "step-000004"
    weights = newest / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "delete":
        (newest / "training" / "optimizer.safetensors").unlink()
    elif damage == "flip":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif damage == "manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "training" / "state.json").write_text("{}")
    assert train.run(broken).exit_code == 0
    events = events_of(broken)
    assert [event.step for event in events if event.type == "resume"] == [3]
    warnings = [event.data["message"] for event in events if event.type == "log"]
    assert len(warnings) == 1
    assert "step-000004 is damaged" in warnings[0]
    assert story(broken) == story(straight)


@pytest.mark.slow
def test_what_a_dead_process_was_writing_is_swept_away(make_run: MakeRun) -> None:
    run_dir = make_run()
    (run_dir / "step-000002.tmp-dead").mkdir()
    (run_dir / "step-000002.tmp-dead" / "model.safetensors").write_bytes(b"half")
    train.run(run_dir)
    assert not list(run_dir.glob("*.tmp-*"))


@pytest.mark.slow
def test_a_finished_run_run_again_changes_nothing(make_run: MakeRun, story: Story) -> None:
    run_dir = make_run()
    first = train.run(run_dir)
    before = story(run_dir)
    again = train.run(run_dir)
    assert (again.exit_code, again.outcome) == (0, first.outcome)
    assert story(run_dir) == before


@pytest.mark.slow
def test_a_damaged_result_is_made_again(make_run: MakeRun, story: Story) -> None:
    run_dir = make_run(save_every=2)
    train.run(run_dir)
    before = story(run_dir)
    (run_dir / "final" / "config.json").unlink()
    assert train.run(run_dir).exit_code == 0
    assert story(run_dir) == before


def leave_after(n: int) -> Callable[[], bool]:
    """Ask to leave when it has been asked n times before."""
    asked = iter(range(n))
    return lambda: next(asked, None) is None


@pytest.mark.slow
def test_a_reference_reading_that_was_cut_short_goes_on_with_the_batch_that_comes_next(
    make_run: MakeRun, story: Story
) -> None:
    """`with_references` reads each row once, however often the run is broken off."""
    straight, broken = make_run("straight"), make_run("broken")
    train.run(straight)
    whole = (straight / "reference" / "sums.jsonl").read_bytes()
    assert whole.count(b"\n") == 5  # 20 rows, 4 a batch
    assert train.run(broken, should_leave=leave_after(2)).exit_code == EXIT_LEFT
    read = (broken / "reference" / "sums.jsonl").read_bytes()
    assert read == whole[: len(read)]
    assert read.count(b"\n") == 2
    with (broken / "reference" / "sums.jsonl").open("ab") as stream:
        stream.write(b"[[-1.0,")  # torn by a kill
    train.run(broken)
    assert (broken / "reference" / "sums.jsonl").read_bytes() == whole
    assert story(broken) == story(straight)


@pytest.mark.slow
def test_a_checkpoint_of_before_that_counts_no_updates_is_gone_on_from(
    make_run: MakeRun, story: Story, monkeypatch: Any
) -> None:
    straight, older = make_run("straight"), make_run("older")
    train.run(straight)
    assert train.run(older, should_leave=leave_after(5 + 3)).exit_code == EXIT_LEFT  # 5 looks are of the reading
    assert resume.step_dirs(older)[0].name == "step-000003"
    monkeypatch.setattr(run, "load_beside", lambda path, name: {})
    assert train.run(older).exit_code == 0
    assert story(older) == story(straight)


@pytest.mark.slow
def test_how_far_the_reading_of_references_is_is_said(make_run: MakeRun) -> None:
    run_dir = make_run()
    train.run(run_dir)
    events = events_of(run_dir)
    told = [event.data for event in events if event.type == "progress"]
    assert told[0]["phase"] == "loading"
    assert told[1] == {"phase": "reference", "done": 0, "total": 5}
    read = [data for data in told if data["phase"] == "reference"]
    assert read[-1] == {"phase": "reference", "done": 5, "total": 5}
    assert told[-1] == {"phase": "saving", "done": 0, "total": 1, "step": 5}
    assert [event.type for event in events].index("start") > 1  # before the steps begin


@pytest.mark.slow
def test_the_final_policy_scores_its_own_training_pairs_as_its_metrics_say(make_run: MakeRun, story: Story) -> None:
    """A second road to `rewards/margins`: the log-probs of the saved model against those of its start."""
    rows = [TrainingPair("a", "Say a.", " yes", " no", p_first=1.0)]
    one, two = (make_run(name, rows=rows, objective={"epochs": epochs}) for name, epochs in (("one", 3), ("two", 4)))
    train.run(one)
    train.run(two)
    metrics, _ = story(two)
    policy, start = load_policy(one / "final"), load_policy(read_spec(one).start)
    (example,) = encode_pairs(rows, policy.tokenizer, max_length=None)
    assert example.item.prompt_ids == encode_prompt(policy.tokenizer, "Say a.")
    (ours,), (theirs,) = score_groups(policy, [example.item]), score_groups(start, [example.item])
    margin = 0.1 * ((ours[0] - theirs[0]) - (ours[1] - theirs[1]))
    assert metrics[3][1]["rewards/margins"] == pytest.approx(margin, abs=1e-4)  # step 4 sees what 3 steps made
    spec = read_spec(one)
    write_spec(one, spec)
