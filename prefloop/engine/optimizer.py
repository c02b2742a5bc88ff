"""AdamW whose state goes to safetensors and back by the names of the parameters, and its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prefloop.recipes.recipe import Objective

_MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: Any, settings: Objective) -> torch.optim.AdamW:
    """Make AdamW with its usual betas (0.9, 0.999) over every parameter that trains."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)


def learning_rate(settings: Objective, step: int, n_steps: int) -> float:
    """Give the rate of step 1, 2, …, n_steps: a linear rise that reaches the peak at step `warmup`, then the schedule.

    linear ends at peak / (n_steps - warmup) in the last step, so that no step is taken at rate 0.
    """
    if step <= settings.warmup:
        return settings.lr * step / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * (n_steps - step + 1) / (n_steps - settings.warmup)


def optimizer_tensors(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments as `exp_avg.NAME` and `exp_avg_sq.NAME`, on the CPU; empty before the first step."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter)
        if state:
            for moment in _MOMENTS:
                tensors[f"{moment}.{name}"] = state[moment].detach().cpu().contiguous()
    return tensors


def restore_optimizer(
    model: Any, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], *, step: int
) -> None:
    """Put the moments back; raises KeyError where a parameter has none."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        state: dict[str, Any] = {"step": torch.tensor(float(step))}
        for moment in _MOMENTS:
            state[moment] = torch.empty_like(parameter).copy_(tensors[f"{moment}.{name}"])
        optimizer.state[parameter] = state
