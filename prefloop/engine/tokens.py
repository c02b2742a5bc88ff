"""Losses that need whole next-token distributions, in chunks of positions, never a (length, vocabulary) tensor.

The logits of a chunk exist only while it is processed; the backward pass computes them again.

Departure: the cringe token loss is averaged over the draw of its positive token rather than drawn. The gradient's
expectation is the same, its variance smaller, and neither packing nor a resume can change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prefloop.losses.cringe import expected_cringe_token_loss
from prefloop.losses.gkd import generalised_jsd_loss
from prefloop.policy.batches import PackedBatch
from prefloop.policy.logps import completion_logps, sum_by_sequence
from prefloop.policy.precision import full_dtype, in_full
from prefloop.policy.scoring import forward_hidden, output_head

_CHUNK = 512  # positions


def forward_cringe(model: Any, packed: PackedBatch, *, k: int) -> tuple[Tensor, Tensor]:
    """Compute log-prob sums and cringe sums of every completion, both (n_completions,), with gradient.

    The batch must have a layout that the model supports (`unshared_because`): owners and targets are the batch's own.
    """
    hidden, head = forward_hidden(model, packed, with_grad=True), output_head(model)
    logps = completion_logps(hidden, head, packed.targets)

    def cringe(states: Tensor, targets: Tensor) -> Tensor:
        return expected_cringe_token_loss(in_full(head(states)), targets, k=k)

    tokens = _chunked(cringe, hidden, packed.targets)
    return (
        sum_by_sequence(logps, packed.owner, packed.n_completions),
        sum_by_sequence(tokens, packed.owner, packed.n_completions),
    )


def forward_collision(model: Any, packed: PackedBatch) -> tuple[Tensor, Tensor]:
    """Compute of every completion its log-prob sum, with gradient, and the sum of log sum_v pi(v)^2, without.

    Both (n_completions,). The second is the log of the chance that two draws of each token agree.
    """
    hidden, head = forward_hidden(model, packed, with_grad=True), output_head(model)
    logps = completion_logps(hidden, head, packed.targets)
    with torch.no_grad():
        parts = [(2 * in_full(head(states)).log_softmax(-1)).logsumexp(-1) for states in hidden.detach().split(_CHUNK)]
        collisions = torch.cat(parts) if parts else torch.zeros_like(logps)
    return (
        sum_by_sequence(logps, packed.owner, packed.n_completions),
        sum_by_sequence(collisions, packed.owner, packed.n_completions),
    )


def forward_divergence(model: Any, teacher: Any, packed: PackedBatch, *, beta: float) -> Tensor:
    """Compute each completion's summed generalised Jensen-Shannon divergence from the teacher, (n_completions,)."""
    hidden, head = forward_hidden(model, packed, with_grad=True), output_head(model)
    with torch.no_grad():
        theirs, their_head = forward_hidden(teacher, packed, with_grad=False), output_head(teacher)

    def divergence(states: Tensor, teacher_states: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = in_full(their_head(teacher_states))
        return generalised_jsd_loss(teacher_logits, in_full(head(states)), beta=beta).loss

    return sum_by_sequence(_chunked(divergence, hidden, theirs), packed.owner, packed.n_completions)


def _chunked(compute: Callable[[Tensor, Tensor], Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function to chunks of positions, keeping no logits for the backward pass."""
    parts = [
        checkpoint(compute, *chunk, use_reentrant=False)
        for chunk in zip(*(tensor.split(_CHUNK) for tensor in tensors), strict=True)
    ]
    return torch.cat(parts) if parts else tensors[0].new_zeros(0, dtype=full_dtype(tensors[0].dtype))
