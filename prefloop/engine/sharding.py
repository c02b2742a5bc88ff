"""Sharded weights: every process keeps a part of each weight, and all of a layer's only while that layer computes.

This is PyTorch's FSDP2 (`fully_shard`). Trained weights are kept in fp32 and gathered in the precision of the run, so
that weights, gradients, the optimizer's moments and its fp32 copy take a process 1 / n of what they take one alone.
Gradients are summed over the processes, never averaged, as without sharding.

Gathering is collective: all processes make the same passes through the same models (`alike`), and a process with fewer
rows than another makes passes that count for nothing.

A checkpoint is that of one process, written by the first from gathered weights: any number of processes can go on with
it, and whatever reads safetensors can open it. (PyTorch's own sharded checkpoints name their parts in a pickle, which
nothing here reads.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from typing_extensions import override

from prefloop.engine.ranks import Ranks
from prefloop.policy.adapters import is_adapted
from prefloop.policy.loading import layers_of
from prefloop.policy.precision import full_dtype
from prefloop.policy.scoring import output_head, runs_flat, supports_block_mask

T = TypeVar("T")
_SHARDED = "_prefloop_sharded"


class Sharded(nn.Module):
    """Computes with a sharded model: what its layers share (embeddings, the head) is whole while `forward` runs.

    `plain`: the model as it was, without the numbers in its weights. `raised`: whether its trained weights are kept in
    a higher precision than they are gathered in.
    """

    def __init__(self, model: nn.Module, *, raised: bool) -> None:
        super().__init__()
        self.model, self.raised = model, raised
        weights = {id(one): _empty(one) for one in model.parameters()}
        self.plain = (copy.deepcopy(model, weights),)  # in a tuple: it is no part of this module

    @override
    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


def shard(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Divide a model in the machine's memory among the processes of the run, each part on its process's device.

    `dtype`: the precision of the run. Weights that train are kept in fp32.
    """
    supports_block_mask(model)  # known from here on: they are found out by comparing passes of the whole model
    if device.type == "cpu":
        runs_flat(model)
    if model.get_output_embeddings() is not None:
        output_head(model)
    trained = [one for one in model.parameters() if one.requires_grad]
    raised = any(one.dtype != full_dtype(one.dtype) for one in trained)
    shell = Sharded(model, raised=raised)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy()
    if raised and not is_adapted(model):  # beside an adapter the few that train compute as they are kept
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=full_dtype(dtype))
    for part in (*layers_of(model), shell):
        for parameter in part.parameters():  # part by part: the machine holds one of them twice
            if parameter.requires_grad and not isinstance(parameter, DTensor):
                parameter.data = parameter.data.to(full_dtype(parameter.dtype))
        sharded: Any = fully_shard(part, mesh=mesh, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)
    model.__dict__[_SHARDED] = shell  # past nn.Module, which would make it a part of the model


def is_sharded(model: Any) -> bool:
    return _SHARDED in model.__dict__


def keeps_copies(model: Any) -> bool:
    """Say whether the optimizer's fp32 weights hold more than the model's own."""
    return not is_sharded(model) or model.__dict__[_SHARDED].raised


def computing(models: Sequence[Any], compute: Callable[[], T]) -> T:
    """Do a pass through these models (None: no model); those that are sharded gather their weights for it."""
    for model in models:
        if model is not None and is_sharded(model):
            compute = _within(model.__dict__[_SHARDED], compute)
    return compute()


def _within(shell: FSDPModule, compute: Callable[[], T]) -> Callable[[], T]:
    def inside() -> T:
        result: T = shell(compute)  # type: ignore[operator] # an nn.Module too
        if not torch.is_grad_enabled():
            shell.reshard()  # after a pass with gradient its backward pass does so
        return result

    return inside


def alike(ranks: Ranks, model: Any, pieces: Sequence[T], filler: Callable[[], T]) -> Iterator[tuple[T, bool]]:
    """Give the pieces of this process, then the filler as often as others of a sharded model have more of them.

    With each whether it counts.
    """
    missing = max(ranks.gather(len(pieces))) - len(pieces) if is_sharded(model) else 0
    for piece in pieces:
        yield piece, True
    if missing:
        extra = filler()
        for _ in range(missing):
            yield extra, False


def nothing_of(states: Any) -> Tensor:
    """Make a loss of 0 of what a pass gave, whose gradient is 0 in every weight."""
    parts = states if isinstance(states, tuple) else (states,)
    return sum((0.0 * one.sum() for one in parts if isinstance(one, Tensor) and one.requires_grad), torch.zeros(()))


def local(value: Tensor) -> Tensor:
    """Return this process's part of a weight or gradient: the same memory; of one that is not sharded all of it."""
    return value.to_local() if isinstance(value, DTensor) else value


def part_of(whole: Tensor, parameter: Tensor) -> Tensor:
    """Return the part of a whole tensor that this process has of the parameter."""
    if not isinstance(parameter, DTensor):
        return whole
    parts = whole.chunk(parameter.device_mesh.size(), 0)
    rank = parameter.device_mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else whole[:0]


def gathered(part: Tensor, parameter: Tensor) -> Tensor:
    """Put the parts that the processes have of a tensor together: one of the parameter's shape, in all of them."""
    if not isinstance(parameter, DTensor):
        return part
    whole = DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
    return whole.full_tensor()


@torch.no_grad()
def whole_model(model: Any, *, keep: bool, in_full: bool = False) -> Any:
    """Copy a sharded model whole into the machine's memory; all processes call it, those with `keep` get it.

    `in_full`: trained weights stay fp32, and are not rounded to the precision of the run.
    """
    if not is_sharded(model):
        return model
    (plain,) = model.__dict__[_SHARDED].plain
    empty = dict(plain.named_parameters())
    weights: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        value = gathered(local(parameter), parameter)
        if keep:
            before = empty[name]
            kept = value.cpu() if in_full and before.requires_grad else value.to("cpu", before.dtype)
            weights[id(before)] = nn.Parameter(kept, requires_grad=before.requires_grad)
    return copy.deepcopy(plain, weights) if keep else None


def _empty(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
