"""A cache of trained policies by content: the same code, seed and size are trained once, however many processes ask."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import tokenizers
import torch
import transformers

from prefloop.checkpoints import DamagedCheckpoint, verify_manifest
from prefloop.policy import prompts
from prefloop.worlds.letters import corpus, sft, tokenizer, words
from prefloop.worlds.letters.sft import SHAPES, OnProgress, Size, train_sft

THREADS = 1  # the thread count is part of what makes a training repeatable


def cached_letters_policy(
    cache_dir: Path | str, *, size: Size = "tiny", seed: int = 0, on_progress: OnProgress | None = None
) -> Path:
    """Return the directory of the policy of this code, size and seed, training it first if it doesn't exist yet.

    Processes that ask at the same time wait for the one that trains. Don't write into the directory: it is shared.
    """
    root = Path(cache_dir)
    root.mkdir(parents=True, exist_ok=True)
    found = root / f"letters-{size}-{cache_key(size=size, seed=seed)[:16]}"
    with _locked(root / f".{found.name}.lock"):
        if not _whole(found):
            shutil.rmtree(found, ignore_errors=True)
            train_sft(found, size=size, seed=seed, threads=THREADS, on_progress=on_progress)
    return found


def cache_key(*, size: Size, seed: int) -> str:
    """Hash what the trained weights depend on: source text, versions, shape, seed and threads."""
    sources = [Path(str(module.__file__)).read_text("utf-8") for module in (words, corpus, tokenizer, sft, prompts)]
    versions = [torch.__version__, transformers.__version__, tokenizers.__version__]
    what = [sources, versions, asdict(SHAPES[size]), size, seed, THREADS]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _whole(directory: Path) -> bool:
    try:
        verify_manifest(directory)
    except DamagedCheckpoint:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system releases it if this process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
