"""Log-probabilities of chosen tokens from hidden states, without ever holding a (length, vocabulary) tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from prefloop.policy.precision import full_dtype, in_full

_KEPT = 2**24  # probabilities kept for the backward pass, 64 MiB: more are computed again
_CPU_LOGITS = 2**23  # logits at once on a CPU: more leave its caches, and fresh memory costs more than it saves


def completion_logps(hidden: Tensor, lm_head: nn.Module, targets: Tensor, *, chunk: int = 1024) -> Tensor:
    """Compute log softmax(lm_head(hidden))[targets] in fp32 or better, `chunk` positions at a time.

    Shapes: hidden (T, H) at the positions that *predict*; targets (T,) the tokens they predict; returns (T,) nats.
    The logits of a chunk live only while it is worked on; where all together take more than 64 MiB, the backward pass
    computes them again.
    A plain linear head takes the analytic gradient; any other head (an adapter, say) is checkpointed.
    """
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(f"hidden must be (T, H) and targets (T,), not {tuple(hidden.shape)}, {tuple(targets.shape)}")
    if chunk < 1:
        raise ValueError("chunk must be at least 1")
    if type(lm_head) is nn.Linear:
        return _LinearLogps.apply(hidden, lm_head.weight, lm_head.bias, targets, chunk)
    if not torch.is_grad_enabled():
        parts = [_head_logps(h, t, lm_head) for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True)]
    else:
        parts = [
            checkpoint(_head_logps, h, t, lm_head, use_reentrant=False)
            for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True)
        ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=full_dtype(hidden.dtype))


def sum_by_sequence(token_logps: Tensor, segment_ids: Tensor, n: int) -> Tensor:
    """Sum (T,) token values into (n,) sequence values; `segment_ids` (T,) says whose each token is."""
    if token_logps.shape != segment_ids.shape or token_logps.ndim != 1:
        raise ValueError("token_logps and segment_ids must both be (T,)")
    return token_logps.new_zeros(n).index_add(0, segment_ids, token_logps)


def _head_logps(hidden: Tensor, targets: Tensor, lm_head: nn.Module) -> Tensor:
    logits = in_full(lm_head(hidden))
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


class _LinearLogps(torch.autograd.Function):
    """d logp / d logits = onehot(target) - softmax(logits).

    Few logits are kept as probabilities for the backward pass; of many it keeps none and computes them again.
    """

    @staticmethod
    @override
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int) -> Tensor:
        n, size = hidden.shape[0], weight.shape[0]
        exact = full_dtype(hidden.dtype)
        out = hidden.new_empty(n, dtype=exact)
        normaliser = torch.empty_like(out)
        if hidden.device.type == "cpu":
            chunk = max(1, min(chunk, _CPU_LOGITS // size))
        keeps = any(ctx.needs_input_grad) and n * size <= _KEPT
        kept = hidden.new_empty(n, size, dtype=exact) if keeps else None
        total = torch.ones_like(out)
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            logits = in_full(nn.functional.linear(hidden[part], weight, bias))
            picked, largest = logits.gather(1, targets[part, None]).squeeze(1), logits.amax(dim=1)
            above = torch.sub(logits, largest[:, None], out=logits if kept is None else kept[part]).exp_()
            total[part] = above.sum(dim=1)
            normaliser[part] = largest + total[part].log()
            out[part] = picked - normaliser[part]
        ctx.kept = None if kept is None else (kept, total)  # softmax is kept / total
        ctx.save_for_backward(hidden, weight, bias, targets, normaliser)
        ctx.chunk = chunk
        return out

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        hidden, weight, bias, targets, normaliser = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        # accumulated over chunks in fp32, so that many small chunks add up to what one large one gives
        grad_weight = torch.zeros_like(weight, dtype=full_dtype(weight.dtype)) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=full_dtype(bias.dtype)) if bias is not None and need_bias else None
        kept, ctx.kept = ctx.kept, None  # its memory is reused: a second backward pass computes it again
        for start in range(0, hidden.shape[0], ctx.chunk):
            part = slice(start, start + ctx.chunk)
            if kept is None:
                logits = in_full(nn.functional.linear(hidden[part], weight, bias))
                probabilities = logits.sub_(normaliser[part, None]).exp_()
                share = -grad[part, None]
            else:
                probabilities, share = kept[0][part], -(grad[part] / kept[1][part])[:, None]
            grad_logits = probabilities.mul_(share)
            grad_logits.scatter_add_(1, targets[part, None], grad[part, None].to(grad_logits.dtype))
            if grad_bias is not None:
                grad_bias += grad_logits.sum(dim=0)
            grad_logits = grad_logits.to(weight.dtype)
            if grad_hidden is not None:
                torch.mm(grad_logits, weight, out=grad_hidden[part])
            if grad_weight is not None:
                if weight.dtype == grad_weight.dtype:
                    grad_weight.addmm_(grad_logits.T, hidden[part])
                else:
                    grad_weight += grad_logits.T @ hidden[part]
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )
