"""A factory of small run directories, and what a finished run says."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefloop.policy.loading import reward_head, reward_model_from_policy, save_model
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.prompts import PromptRow, write_prompts
from prefloop.recipes.recipe import Anchor, Draw, Label, Memory, Objective, Pairing, Score
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import Demonstration, Row, write_snapshot
from prefloop.types import TrainingPair

MakeRun = Callable[..., Path]


def some_pairs(n: int, *, seed: int = 0) -> list[TrainingPair]:
    rng = random.Random(seed)
    return [
        TrainingPair(
            id=f"r{at}",
            prompt=f"Say {rng.choice(['one', 'two', 'three'])}.",
            first=" good" * rng.randint(0, 4),
            second=" bad" * rng.randint(1, 4),
            p_first=rng.choice([1.0, 0.0, 0.7, 0.5]),
            weight=rng.choice([1.0, 1.0, 2.5]),
        )
        for at in range(n)
    ]


def some_demonstrations(n: int) -> list[Demonstration]:
    return [Demonstration(row.id, row.prompt, row.first, row.weight) for row in some_pairs(n)]


def some_answers(n: int) -> list[Demonstration]:
    return [replace(row, desirable=len(row.completion) > 10) for row in some_demonstrations(n)]


SOME: dict[str, Callable[[int], Sequence[Row]]] = {"demonstrations": some_demonstrations, "answers": some_answers}


@pytest.fixture(scope="session")
def letters_policy_dir() -> Path:
    """The tiny trained letters policy, made once a machine and code version; nothing may write into it."""
    from prefloop.worlds.letters.cache import cached_letters_policy

    return cached_letters_policy(Path(__file__).resolve().parents[3] / "var" / "test-cache")


@pytest.fixture
def make_run(tmp_path: Path, tiny_policy_dir: Path) -> MakeRun:
    def make(
        name: str = "run",
        *,
        kind: str = "dpo",
        rows: Sequence[Row] | None = None,
        objective: dict[str, Any] | None = None,
        reference: str = "",
        **settings: Any,
    ) -> Path:
        run_dir = tmp_path / name
        run_dir.mkdir()
        numbers = {"batch": 4, "lr": 1e-3, **(objective or {})}
        loss: Any = {"sft": "nll", "reward-model": "bradley-terry"}.get(kind, kind)
        made = Objective(loss=loss, **numbers)
        rows = rows if rows is not None else SOME.get(made.rows, some_pairs)(20)
        info = write_snapshot(run_dir / "snapshot.jsonl", rows)
        spec = RunSpec(
            run_id=name,
            kind=kind,
            start=str(tiny_policy_dir),
            reference=(reference or str(tiny_policy_dir)) if made.needs_reference else None,
            objective=made,
            snapshot_sha256=info.sha256,
            **settings,
        )
        write_spec(run_dir, spec)
        return run_dir

    return make


@pytest.fixture
def story() -> Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]:
    """What a run did: its metrics, superseded ones left out, and the SHA-256 of its final weights."""

    def tell(run_dir: Path) -> tuple[list[tuple[int, dict[str, float]]], str]:
        events = drop_superseded(read_events(run_dir / "events.jsonl")[0])
        metrics = [(event.step or 0, event.data["values"]) for event in events if event.type == "metric"]
        weights = (run_dir / "final" / "model.safetensors").read_bytes()
        return metrics, hashlib.sha256(weights).hexdigest()

    return tell


# --- on-policy runs, small enough to be killed in every second of their life ------------------------------------

TOKENS = 6
PROMPTS = [f"Say {word} {number}." for word in ("one", "two", "three") for number in range(4)]


def draw(source: str, n: int, **more: Any) -> Draw:
    return Draw(source=source, n=n, max_tokens=TOKENS, **more)


OVERRIDES = Memory(replays=True, kind="overrides")
PARTS: dict[str, dict[str, Any]] = {
    "dpo": {
        "draws": (draw("current", 2, temperature=0.9),),
        "pairing": Pairing(kind="the-two"),
        "label": Label(by="judge"),
        "memory": OVERRIDES,
        "objective": {"loss": "dpo", "beta": 0.1},
    },
    "ipo": {
        "draws": (draw("current", 2),),
        "score": Score(by="judge"),
        "pairing": Pairing(kind="the-two"),
        "label": Label(by="scores"),
        "objective": {"loss": "ipo", "tau": 0.5},
    },
    "ppo": {
        "draws": (draw("current", 1),),
        "score": Score(by="judge"),
        "pairing": Pairing(kind="none"),
        "label": Label(by="none"),
        "objective": {"loss": "ppo", "beta": 0.05, "lambda_": 0.95, "passes": 2, "minibatches": 2},
    },
    "j-bond": {
        "draws": (draw("current", 1), draw("anchor", 2)),
        "score": Score(by="judge"),
        "pairing": Pairing(kind="none"),
        "label": Label(by="none"),
        "anchor": Anchor(kind="ema", rate=0.1),
        "objective": {"loss": "j-bond", "jeffreys": 0.5, "gamma": 0.1},
    },
    "bond": {
        "draws": (draw("anchor", 4), draw("current", 2)),
        "score": Score(by="judge"),
        "pairing": Pairing(kind="none"),
        "label": Label(by="none"),
        "anchor": Anchor(kind="copy", every=3),
        "objective": {"loss": "bond", "n": 3, "jeffreys": 0.5},
    },
}


@pytest.fixture(scope="session")
def reward_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model: it likes some things more than others, and that is all that is asked of it."""
    import torch

    model = reward_model_from_policy(tiny_policy(seed=5, chat=True))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(6)
        reward_head(model.model).weight.normal_()
    directory = tmp_path_factory.mktemp("models") / "reward"
    save_model(model.model, model.tokenizer, directory)
    return directory


@pytest.fixture
def make_online(tmp_path: Path, tiny_policy_dir: Path, reward_model_dir: Path) -> Callable[..., Path]:
    """make_online("dpo", "name", objective={…}, online={…}, **spec): a run directory of that method."""

    def make(
        method: str,
        name: str = "run",
        *,
        prompts: list[str] | None = None,
        objective: dict[str, Any] | None = None,
        online: dict[str, Any] | None = None,
        start: str = "",
        **settings: Any,
    ) -> Path:
        run_dir = tmp_path / name
        run_dir.mkdir()
        rows = [PromptRow(f"p{at}", text) for at, text in enumerate(prompts or PROMPTS)]
        info = write_prompts(run_dir / "prompts.jsonl", rows)
        parts = dict(PARTS[method])
        numbers = {"batch": 4, "lr": 1e-3, **parts.pop("objective"), **(objective or {})}
        made = OnlineSpec(**({"reward_model": str(reward_model_dir)} | parts | (online or {})))
        spec = RunSpec(
            run_id=name,
            kind="online",
            start=start or str(tiny_policy_dir),
            snapshot="prompts.jsonl",
            snapshot_sha256=info.sha256,
            reference=str(tiny_policy_dir),
            objective=Objective(**numbers),
            online=made,
            **settings,
        )
        write_spec(run_dir, spec)
        return run_dir

    return make
