"""AdamW in full precision whatever the model's; its state is saved to safetensors by the names of parameters.

A model in bf16 is trained with an fp32 copy of its weights that belongs to the optimizer ("master weights"), rather
than in fp32 under autocast, so that the trained tensors are the same that sample, score and serve: on-policy methods
then train on what was sampled, and nothing is cast again in each pass. A step is added in fp32, where it is not lost to
rounding (bf16 keeps 8 bits: an update under 0.4 % of a weight would vanish), and rounded into the model. Gradients are
accumulated in fp32 too, pass by pass, so that the number of passes does not change the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from typing_extensions import override

from prefloop.engine.ranks import Ranks
from prefloop.engine.sharding import gathered, keeps_copies, local, part_of
from prefloop.policy.precision import full_dtype, in_full
from prefloop.recipes.recipe import Objective

_FUSED = ("cpu", "cuda")  # where torch has one kernel for the whole of Adam's update
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MASTER = "master"


class MasterAdamW(torch.optim.AdamW):
    """AdamW with its usual betas (0.9, 0.999) over fp32 copies of lower-precision parameters; the others it updates
    directly.

    A low-precision parameter never keeps a gradient: it is moved to the fp32 copy as soon as a backward pass has made
    it. Of a sharded parameter, which is fp32, this process updates its own part.
    """

    def __init__(self, model: nn.Module, *, lr: float, weight_decay: float) -> None:
        self.masters: dict[nn.Parameter, nn.Parameter] = {}
        self._parts: dict[nn.Parameter, nn.Parameter] = {}  # of the masters those that are parts of a sharded parameter
        for parameter in model.parameters():
            if not parameter.requires_grad:
                continue
            if isinstance(parameter, DTensor):
                self._parts[parameter] = self.masters[parameter] = nn.Parameter(local(parameter.detach()))
                continue
            full = parameter.dtype == full_dtype(parameter.dtype)
            self.masters[parameter] = master = parameter if full else nn.Parameter(in_full(parameter.detach()))
            if not full:
                parameter.register_post_accumulate_grad_hook(partial(_move_gradient, master))
        fused = all(master.device.type in _FUSED for master in self.masters.values())
        super().__init__(list(self.masters.values()), lr=lr, weight_decay=weight_decay, fused=fused or None)

    @override
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.round_into_model()
        return loss

    @torch.no_grad()
    def round_into_model(self) -> None:
        for parameter, master in self.masters.items():
            if parameter is not master and parameter not in self._parts:
                parameter.copy_(master)

    def gather_gradients(self, ranks: Ranks) -> None:
        """Sum the next step's gradients over the processes; FSDP has summed those of sharded parameters already."""
        for parameter, part in self._parts.items():
            part.grad = None if parameter.grad is None else local(parameter.grad)
            parameter.grad = None
        parts = set(self._parts.values())
        ranks.sum_gradients([master for master in gradients(self) if master not in parts])

    def clip(self, most: float, ranks: Ranks) -> float:
        """Scale the gradients to the largest allowed norm, that of all parameters together; return their original
        norm.
        """
        if not self._parts:
            return float(nn.utils.clip_grad_norm_(gradients(self), most))
        parts = set(self._parts.values())
        of_parts, of_whole = (
            [one.grad for one in gradients(self) if one.grad is not None and (one in parts) == wanted]
            for wanted in (True, False)
        )
        squares = sum(ranks.gather(float(nn.utils.get_total_norm(of_parts)) ** 2))
        norm = math.sqrt(squares + float(nn.utils.get_total_norm(of_whole)) ** 2)
        nn.utils.clip_grads_with_norm_(gradients(self), most, torch.tensor(norm))
        return norm


def _move_gradient(master: nn.Parameter, parameter: Tensor) -> None:
    if parameter.grad is not None:
        gradient = in_full(parameter.grad)
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        parameter.grad = None


def make_optimizer(model: Any, settings: Objective) -> MasterAdamW:
    """Make the optimizer of all trained parameters."""
    return MasterAdamW(model, lr=settings.lr, weight_decay=settings.weight_decay)


def gradients(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List the parameters with the `grad` for the next step, always in the same order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def learning_rate(settings: Objective, step: int, n_steps: int) -> float:
    """Give the rate of step 1, 2, …, n_steps: a linear rise that reaches the peak at step `warmup`, then the schedule.

    linear ends at peak / (n_steps - warmup) in the last step, so that no step has rate 0.
    """
    if step <= settings.warmup:
        return settings.lr * step / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * (n_steps - step + 1) / (n_steps - settings.warmup)


def optimizer_tensors(model: Any, optimizer: MasterAdamW, *, keep: bool = True) -> dict[str, Tensor]:
    """Return the moments as `exp_avg.NAME` and `exp_avg_sq.NAME`, and fp32 copies as `master.NAME`, on the CPU.

    Before the first step only the copies. Those of sharded parameters are whole: all processes call this together, and
    those without `keep` get nothing.
    """
    tensors = {}

    def add(name: str, part: Tensor, parameter: Tensor) -> None:
        whole = gathered(part.detach(), parameter)
        if keep:
            tensors[name] = whole.cpu().contiguous()

    for name, parameter in model.named_parameters():
        master = optimizer.masters.get(parameter)
        if master is None:
            continue
        if master is not parameter and keeps_copies(model):
            add(f"{_MASTER}.{name}", master, parameter)
        state = optimizer.state.get(master)
        if state:
            for moment in _MOMENTS:
                add(f"{moment}.{name}", state[moment], parameter)
    return tensors


def restore_optimizer(model: Any, optimizer: MasterAdamW, tensors: Mapping[str, Tensor], *, step: int) -> None:
    """Restore the moments and the fp32 copies; raises KeyError if a parameter has none.

    A checkpoint of a run in fp32 has no copies: they are the weights themselves.
    """
    for name, parameter in model.named_parameters():
        master = optimizer.masters.get(parameter)
        if master is None:
            continue
        if master is not parameter and f"{_MASTER}.{name}" in tensors:
            master.data.copy_(part_of(tensors[f"{_MASTER}.{name}"], parameter))
        if step:
            state: dict[str, Any] = {"step": torch.tensor(float(step), device=master.device)}
            for moment in _MOMENTS:
                state[moment] = torch.empty_like(master).copy_(part_of(tensors[f"{moment}.{name}"], parameter))
            optimizer.state[master] = state
    optimizer.round_into_model()
