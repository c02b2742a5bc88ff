"""Several processes in one run: the rows of a step are divided among them, and its gradient is their sum.

accelerate joins the processes (gloo on CPUs, NCCL on GPUs). Every process holds the whole model and makes every step;
only the first writes events and checkpoints and reads the inbox. The denominator of a row's loss is known for the whole
batch, so gradients are summed, never averaged, and the curve is that of one process except for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from prefloop.judging.errors import JudgeError

T = TypeVar("T")
_PATIENCE = timedelta(hours=2)  # others wait this long for one that writes a large checkpoint


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `size`; `local` is its number on its own machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> list[T]:
        """Return this process's part of the rows, dealt out in turn; a part may be empty."""
        return list(rows[self.rank :: self.size])

    def gather(self, value: T) -> list[T]:
        """Give every process the values of all, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum over processes; a parameter without a gradient in any process keeps none."""
        if self.size == 1 or not parameters:
            return
        has = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device).int()
        dist.all_reduce(has, op=dist.ReduceOp.MAX)
        pending = []
        for parameter, wanted in zip(parameters, has.tolist(), strict=True):
            if wanted:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                pending.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in pending:
            work.wait()

    def by_main(self, work: Callable[[], T]) -> T:
        """Let the first process do this and give the result to all. A JudgeError is raised in all of them."""
        if self.size == 1:
            return work()
        said: tuple[Any, JudgeError | None] = (None, None)
        if self.is_main:
            try:
                said = (work(), None)
            except JudgeError as error:
                said = (None, error)
        (result, failed), *_ = self.gather(said)
        if failed is not None:
            raise failed
        done: T = result
        return done

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the first process do this before the others."""
        if not self.is_main:
            self.gather(None)
        try:
            yield
        finally:
            if self.is_main:
                self.gather(None)


ALONE = Ranks()


@contextmanager
def joined(*, on_cpu: bool) -> Iterator[Ranks]:
    """Join the other processes of this run, named by the environment (RANK, WORLD_SIZE, MASTER_ADDR, …)."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    from accelerate import PartialState  # seconds to import, which a run of one process need not pay

    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    try:
        yield Ranks(state.process_index, state.num_processes, state.local_process_index)
    finally:
        state.destroy_process_group()
