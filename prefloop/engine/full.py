"""The fp32 weights of a model that a CPU computes in bf16 for its speed alone.

Such a run begins with the weights of the start model's files, not with what bf16 keeps of them, and its result is fp32.
So steps too small for bf16 are not lost between the rounds of a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prefloop.engine.optimizer import MasterAdamW
from prefloop.engine.sharding import part_of


@torch.no_grad()
def begin_in_full(model: Any, optimizer: MasterAdamW, exact: Any) -> None:
    """Give the optimizer's copies the weights of `exact`, the start model in fp32."""
    weights = dict(exact.named_parameters())
    for name, parameter in model.named_parameters():
        master, plain = optimizer.masters.get(parameter), _plain(name)
        if master is not None and master is not parameter and plain in weights:  # a new adapter is fp32 already
            master.copy_(part_of(weights[plain], parameter))


@torch.no_grad()
def end_in_full(model: Any, masters: Mapping[nn.Parameter, nn.Parameter], load: Callable[[], Any]) -> None:
    """Turn the trained model into fp32: what was trained as the optimizer has it (`masters`), the rest as in the start
    model, which `load` gives where it is needed. The optimizer can't go on with the model afterwards.
    """
    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        master = masters.get(parameter)
        if master is None and not weights:
            weights = dict(load().named_parameters())
        parameter.data = weights[_plain(name)].data if master is None else master.data
    model.float()


def _plain(name: str) -> str:
    """The name of a weight in the model without the adapter that peft wraps around it."""
    name = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
    return name.replace(".modules_to_save.default.", ".").replace(".original_module.", ".")
