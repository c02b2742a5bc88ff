"""A factory of small run directories, and what a finished run says."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.recipe import Objective
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
        rows = rows if rows is not None else (some_demonstrations(20) if kind in ("sft", "gkd") else some_pairs(20))
        info = write_snapshot(run_dir / "snapshot.jsonl", rows)
        numbers = {"batch": 4, "lr": 1e-3, **(objective or {})}
        loss: Any = {"sft": "nll", "reward-model": "bradley-terry"}.get(kind, kind)
        made = Objective(loss=loss, **numbers)
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
