"""The learning part of a step: packed passes whose gradients sum to that of the exact mean over the minibatch.

The denominator of a minibatch's loss is known before its first pass, so that the token budget, the order of packing and
the number of processes change the result only by rounding. Old log-probs come from the pass that is trained through,
never from a sampler, which rounds differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from prefloop.engine.context import NotFinite, RunContext
from prefloop.engine.hardware import ready_to_step, spare_activations
from prefloop.engine.optimizer import MasterAdamW, learning_rate
from prefloop.engine.passes import recomputes
from prefloop.engine.pieces import Piece, Row, pieces_of, shortest_piece, token_logps
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.sharding import alike, computing, nothing_of
from prefloop.engine.source import Source
from prefloop.engine.step_losses import StepLoss
from prefloop.engine.sums import Sums
from prefloop.policy.scoring import forward_tokens

Minibatch = tuple[float, list[Piece], Sequence[Row]]  # what its losses are divided by, this process's share, its rows


def nothing() -> None:
    """Do nothing, where nobody may interrupt."""


def backward(
    step_loss: StepLoss,
    model: Any,
    batch: Minibatch,
    sums: Sums,
    *,
    between: Callable[[], None] = nothing,
    ranks: Ranks = ALONE,
) -> float:
    """Add the gradient of a minibatch's mean loss to the model's, pass by pass; return this process's part of the
    loss.
    """
    total, pieces, rows = batch
    value = 0.0
    for piece, counts in alike(ranks, model, pieces, partial(shortest_piece, model, rows)):
        if counts:
            between()
        states = computing([model, step_loss.teacher], partial(step_loss.forward, model, piece))
        if not counts:
            nothing_of(states).backward()
            continue
        part = step_loss.loss(piece, states, sums) / total
        part.backward()
        value += float(part.detach())
    return value


class Learner:
    """Updates a model by a loss. `updates`: how often so far, in this run and the runs that it continues."""

    def __init__(
        self, ctx: RunContext, model: Any, step_loss: StepLoss, optimizer: MasterAdamW, source: Source
    ) -> None:
        self.updates = 0
        self._ctx, self._model, self._step_loss = ctx, model, step_loss
        self._optimizer, self._source = optimizer, source
        self._passes = (0, 0, 0)  # of which step, made, to make

    def learn(self, rows: Sequence[Row], step: int, sums: Sums) -> dict[str, float]:
        """Make the passes over the step's rows, with one optimizer step per minibatch; return what is logged.

        Raises NotFinite, and Abandoned when told to leave.
        """
        step_loss, ctx = self._step_loss, self._ctx
        size = -(-len(rows) // step_loss.minibatches)
        batches = []
        for start in range(0, len(rows), size):
            mine = rows[start : start + size]
            share = ctx.ranks.share(mine)
            batches.append((mine, pieces_of(self._model, share, token_budget=ctx.passes.tokens)))
        pieces = [piece for _, part in batches for piece in part]
        self._look_once(pieces, rows)
        if "mismatched" in step_loss.needs:
            step_loss.mismatched = self._mismatched(rows)
        self._source.looked(step, pieces, sums)
        step_loss.prepare(pieces, sums)
        rate = learning_rate(step_loss.settings, self._source.first_step + step, self._source.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._passes = (step, 0, step_loss.passes * len(pieces))
        ends = [
            self._update((step_loss.denominator(mine), part, mine), sums, step, rate)
            for _ in range(step_loss.passes)
            for mine, part in batches
        ]
        losses, norms = zip(*ends, strict=True)
        return {"loss": sum(losses) / len(ends), "grad_norm": sum(norms) / len(ends), "learning_rate": rate}

    def _between(self) -> None:
        step, done, total = self._passes
        self._ctx.progress("learning", done, total, step=step)
        self._passes = (step, done + 1, total)
        self._ctx.between_passes()

    def _look_once(self, pieces: Sequence[Piece], rows: Sequence[Row]) -> None:
        needs, reference, model = self._step_loss.needs, self._source.reference, self._model
        if not needs & {"old", "ref"}:
            return
        with torch.no_grad():
            for piece, _ in alike(self._ctx.ranks, model, pieces, partial(shortest_piece, model, rows)):
                if "old" in needs:
                    states = computing([model], partial(forward_tokens, model, piece.packed, with_grad=False))
                    piece.kept |= {"old": states.logps, "hidden": states.hidden}
                if "ref" in needs and reference is not None:
                    piece.kept["ref"] = token_logps(reference.model, piece)

    def _mismatched(self, rows: Sequence[Row]) -> float:
        """Measure policy and reference on the step's prompts with answers to other ones, over all processes."""
        model = self._model
        mixed = [row.mismatched for row in self._ctx.ranks.share(rows) if row.mismatched is not None]
        pieces = pieces_of(model, mixed, token_budget=self._ctx.passes.tokens)
        total = 0.0
        for piece, counts in alike(self._ctx.ranks, model, pieces, partial(shortest_piece, model, rows)):
            self._ctx.between_passes()
            if not counts:
                token_logps(model, piece)
                continue
            logps = piece.sums(token_logps(self._model, piece))
            total += float((logps - piece.references(logps.dtype)).double().sum())
        parts = self._ctx.ranks.gather((total, len(mixed)))
        return sum(part for part, _ in parts) / max(1, sum(n for _, n in parts))

    def _update(self, batch: Minibatch, sums: Sums, step: int, rate: float) -> tuple[float, float]:
        ctx = self._ctx
        self._optimizer.zero_grad(set_to_none=True)
        again = recomputes(ctx, [piece.packed.n_tokens for piece in batch[1]])
        if again:
            spare_activations(self._model)
        ready_to_step(self._model, spare_memory=again)
        part = backward(self._step_loss, self._model, batch, sums, between=self._between, ranks=ctx.ranks)
        value = sum(ctx.ranks.gather(part))
        self._optimizer.gather_gradients(ctx.ranks)
        norm = self._optimizer.clip(self._step_loss.settings.clip or math.inf, ctx.ranks)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFinite(
                f"the loss is not a finite number at step {step} (learning rate {rate:g}): lower objective.lr"
            )
        ctx.moved = True
        self._optimizer.step()
        self.updates += 1
        return value, norm
