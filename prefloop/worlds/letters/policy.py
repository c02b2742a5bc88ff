"""The letters world's policy: a model of under a million parameters, trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def make_policy(directory: Path, *, seed: int, threads: int, told: Callable[[int, int, str], None]) -> None:
    """Train the policy and write it to `directory`, which is not there yet."""
    from prefloop.worlds.letters.sft import train_sft

    def tell(step: int, n_steps: int, loss: float) -> None:
        told(step, n_steps, f"training the policy, loss {loss:.2f}")

    train_sft(directory, seed=seed, on_progress=tell, threads=threads)
