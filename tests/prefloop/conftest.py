"""Fixtures of the library's tests: tiny random models, made here, never fetched."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random Qwen2 and a byte-level tokenizer with a chat template."""
    from prefloop.policy.tiny import save_tiny_policy

    return save_tiny_policy(tmp_path_factory.mktemp("models") / "tiny", seed=0, chat=True)
