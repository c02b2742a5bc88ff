"""The device of a run, and how it fits into memory."""

from __future__ import annotations

from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from prefloop.memory import most_held_bytes
from prefloop.policy.flat_rows import recomputing
from prefloop.policy.loading import UnloadableModel
from prefloop.recipes.runspec import RunSpec


def device_of(spec: RunSpec, local_rank: int = 0) -> torch.device:
    """Resolve `auto`: a GPU if there is one (each process of a machine takes its own), else the CPU."""
    if spec.device != "auto":
        return torch.device(spec.device)
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def most_held(device: torch.device) -> dict[str, Any]:
    """Say how much memory this process has held at most so far: of the card, or of the machine on a CPU."""
    on_card = device.type == "cuda"
    return {
        "device": device.type,
        "bytes": torch.cuda.max_memory_allocated(device) if on_card else most_held_bytes(),
    }


def spare_activations(model: Any) -> None:
    """Let the layers recompute their activations in the backward pass instead of keeping them; `ready_to_step` says
    when they do. Raises UnloadableModel.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UnloadableModel(f"{type(model).__name__} can't recompute its activations: set spare_memory to false")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=recomputing(model.config.get_text_config()))


def ready_to_step(model: Any, *, spare_memory: bool) -> None:
    """Set the layers that only act in training mode to it; everything else stays in eval mode, with dropout off.

    Called before every step, since sampling in between puts the whole model back into eval mode.
    """
    for module in model.modules():
        dropouts = getattr(module, "lora_dropout", None)
        if dropouts is not None:
            for dropout in dropouts.values():
                dropout.training = True
        elif isinstance(module, GradientCheckpointingLayer):
            module.training = spare_memory  # its own flag alone: its parts stay as they are
