"""A start policy that is the same on every processor, and a project that asks and trains it in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from prefloop.worlds.letters import cache, corpus, sft

N_LETTERS = 1_600


def train_start(out: Path) -> None:
    """Train a tiny letters policy in float64 from weights that numpy draws.

    torch draws normal numbers by other instructions on other processors, so that a start of its own would differ in
    its last digits; in float32 a few hundred steps make those into other answers.
    """
    shape = sft.SHAPES["tiny"]
    letters = list(corpus.letters(N_LETTERS, seed=0))
    tokenizer = sft.train_tokenizer(text for letter in letters for text in (letter.prompt.text, letter.text))
    rows = sft._encode(tokenizer, letters)
    model = Qwen2ForCausalLM(sft._config(shape, tokenizer)).double()
    draws = np.random.default_rng(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 2:
                width = shape.initial_std * 3**0.5
                parameter.copy_(torch.from_numpy(draws.uniform(-width, width, tuple(parameter.shape))))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        losses = sft._fit(model, rows, shape=shape, seed=0, on_progress=None)
    finally:
        torch.set_num_threads(threads)
    sft._publish(model, tokenizer, out, seed=0, step=len(losses))


@pytest.fixture(scope="session")
def golden_start() -> Path:
    """The directory of the start policy, trained once a machine and code version; nothing may write into it."""
    root = Path(__file__).resolve().parents[2] / "var" / "test-cache"
    root.mkdir(parents=True, exist_ok=True)
    found = root / f"golden-{cache.cache_key(size='tiny', seed=0)[:16]}-{N_LETTERS}"
    with cache._locked(root / f".{found.name}.lock"):
        if not cache._whole(found):
            train_start(found)
    return found


@pytest.fixture
def golden_project(make_letters_project: Callable[..., Any], golden_start: Path, settings: Any) -> Any:
    """A small letters project whose default policy is the golden start, sampled and trained in float64."""
    from apps.policies.services import checkpoint_import, checkpoint_make_default
    from prefloop.model_sources import Directory

    settings.PRECISION = "float64"
    settings.WORKER_THREADS = 1
    project = make_letters_project("golden", n_train=16, n_eval=4, n_labelled=16)
    checkpoint_make_default(
        checkpoint=checkpoint_import(project=project, name="golden", role="policy", source=Directory(golden_start))
    )
    return project
