"""Tiny policies that only tests need: one in a directory, and one whose probabilities are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prefloop.policy.loading import Policy, save_model
from prefloop.policy.tiny import tiny_policy


def save_tiny_policy(directory: str | Path, **settings: Any) -> Path:
    """Write `tiny_policy(**settings)` to a directory that `load_policy` reads."""
    policy = tiny_policy(**settings)
    save_model(policy.model, policy.tokenizer, directory)
    return Path(directory)


def uniform_policy() -> Policy:
    """Make a policy that gives every token the same probability, whatever came before."""
    policy = tiny_policy()
    with torch.no_grad():
        policy.model.lm_head.weight.zero_()
    return policy
