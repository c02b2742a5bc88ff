"""What the comparisons with TRL's trainers share: their settings, and a gradient as a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def settings_of(directory: Path) -> dict[str, Any]:
    return {
        "output_dir": str(directory),
        "per_device_train_batch_size": 3,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "max_length": None,
        "disable_tqdm": True,
    }


def gradient_of(loss: torch.Tensor, model: Any) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True))
