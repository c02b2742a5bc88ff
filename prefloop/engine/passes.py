"""How a run's rows are divided into passes that fit into memory, and what happens when one does not fit.

The plan follows from the model and the memory that is free when the run begins. It is kept in the run's directory: a
resumed run makes the same passes, so that its numbers round alike.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import torch

from prefloop.engine.context import RunContext
from prefloop.engine.online.samplers import is_served
from prefloop.memory import ROW_TOKENS, Memory, Passes, Shape, available_bytes, room_for
from prefloop.policy.adapters import count_parameters

FILE = "passes.json"
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
T = TypeVar("T")


def plan_passes(ctx: RunContext, model: Any) -> None:
    """Plan the run's passes from the loaded model, or read the plan that the run began with. A model that does not
    tell its sizes keeps what the specification says.
    """
    count = count_parameters(model)[1]
    shape = Shape.of(model.config.get_text_config().to_dict(), count)
    memory = None
    if shape is not None:
        memory = Memory(shape, width=ctx.dtype.itemsize, lora=ctx.spec.adapter.resolved(count).kind == "lora")
    planned = None
    path = ctx.path(FILE)
    if ctx.ranks.is_main:
        if path.exists():
            planned = Passes(**json.loads(path.read_text("utf-8")))
        if planned is not None and planned.processes == ctx.ranks.size:
            pass  # the run goes on as it began
        elif memory is not None:
            shards = _shards(ctx, memory, model)
            memory = replace(memory, shards=ctx.ranks.size if shards else 1)
            planned = memory.passes(_room(ctx, memory, model), most=ctx.spec.token_budget, on_cpu=_on_cpu(ctx))
            planned = replace(planned, sharded=shards, processes=ctx.ranks.size)
        elif ctx.spec.shard == "always":
            planned = replace(ctx.passes, sharded=ctx.ranks.size > 1, processes=ctx.ranks.size)
    (planned, *_) = ctx.ranks.gather(planned)
    if planned is not None:
        _use(ctx, planned)
        if planned.tokens < ctx.spec.token_budget and _on_cpu(ctx):
            _give_memory_back()


def fitting(ctx: RunContext, work: Callable[[], T]) -> T:
    """Do work in passes; where the accelerator has no memory for one, halve the passes and begin the work again.

    Raises torch.OutOfMemoryError where that is impossible: at the smallest passes, after the step has changed the
    weights, or with several processes, which must make the same passes.
    """
    while True:
        try:
            return work()
        except torch.OutOfMemoryError:
            smaller = ctx.passes.halved()
            if smaller is None or ctx.moved or ctx.ranks.size > 1:
                raise
        # outside of the handler: the error's frames hold the tensors of the pass
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        again = "" if smaller.longest_kept else "; layers compute their activations again"
        ctx.log("warning", f"out of memory: passes have at most {smaller.tokens} tokens from now on{again}")
        _use(ctx, smaller)


def recomputes(ctx: RunContext, passes: Sequence[int]) -> bool:
    """Say whether the layers compute their activations again in passes of these numbers of tokens."""
    return ctx.spec.spare_memory or any(map(ctx.passes.again, passes))


def _use(ctx: RunContext, passes: Passes) -> None:
    ctx.passes = passes
    if ctx.ranks.is_main:
        path = ctx.path(FILE)
        temporary = path.with_name(f"{FILE}.tmp")
        temporary.write_text(json.dumps(asdict(passes)), "utf-8")
        temporary.replace(path)


def _give_memory_back() -> None:
    """Let tensors of 256 KiB and more go back to the system as soon as they are freed, where the C library can.

    Else it raises that limit up to 32 MiB by itself, and what lies between the tensors still in use stays taken: 0.36
    GB of 3.67 in a DPO run on SmolLM2-135M, whose steps took no longer with the limit. Small models keep the default.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 18)


def _on_cpu(ctx: RunContext) -> bool:
    return ctx.device.type == "cpu"


def _shards(ctx: RunContext, memory: Memory, model: Any) -> bool:
    """Decide whether the processes share the weights: by default where a replica would leave no room for a row."""
    if ctx.ranks.size == 1 or ctx.spec.shard == "never":
        return False
    online = ctx.spec.online
    if online is not None and not online.replay and not all(map(is_served, online.draws)):
        if ctx.spec.shard == "always":
            ctx.log(
                "warning", "each process holds all weights, since it draws answers: shared ones need draws.engine vllm"
            )
        return False
    if ctx.spec.shard == "always":
        return True
    return _room(ctx, memory, model) < memory.activations(ROW_TOKENS, again=True)


def _room(ctx: RunContext, memory: Memory, model: Any) -> int:
    if ctx.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(ctx.device)
        held = sum(parameter.nbytes for parameter in model.parameters() if parameter.device.type == "cuda")
        return room_for(memory, free, held=held)
    # weights that were just loaded are pages of their file, which count as free
    return room_for(memory, available_bytes() // ctx.ranks.size, held=0)
