"""The precision in which a worker loads a model: the same that a training run chooses for it."""

from __future__ import annotations

from pathlib import Path

import structlog
import torch
from django.conf import settings

from prefloop.engine.precision import choose

log = structlog.get_logger()


def dtype_of(path: Path, device: str) -> torch.dtype:
    """Choose the precision of the model in this directory. Raises UnsafeCheckpoint and UnloadableModel."""
    chosen = choose(
        path,
        setting=settings.PRECISION,
        device_type=device,
        threads=settings.WORKER_THREADS,
        folder=settings.VAR_DIR,
    )
    if chosen.why:
        log.info("precision", model=path.name, chosen=chosen.why)
    return chosen.dtype
