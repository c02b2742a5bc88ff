"""Rows without padding: the tokens of all rows are concatenated, and only attention treats the rows separately.

What is done token by token (projections, MLP, norms: nearly everything) then has no padding at all, and attention
computes no blocks that a mask would discard: a long prompt attends to itself once, causally, and each completion to the
prompt and to itself. On a CPU an attention call per row costs little; an accelerator would wait for the launches, so
there rows stay padded under a block mask (`scoring`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from prefloop.policy.batches import PackedBatch

_NAME = "prefloop_flat_rows"
# From this length on a prompt is attended to apart; below, one small masked call a row is cheaper than several.
_LONG_PROMPT = 64


@dataclass(frozen=True, slots=True)
class FlatRows:
    """How N concatenated tokens are divided into rows. `parts` of a row are the lengths of its prompt and its
    completions.
    """

    index: Tensor  # (N,) where each token stands among the padded (R · L)
    starts: Tensor  # (R,) where each row begins among the N
    lengths: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    masks: dict[tuple[int, ...], Tensor]  # additive; by the parts of a short row, by (prompt, completion) of a long one

    @classmethod
    def of(cls, packed: PackedBatch, dtype: torch.dtype) -> FlatRows:
        real = packed.segments >= 0
        lengths = real.sum(1)
        parts = [
            tuple(_run_lengths(row[:n])) for row, n in zip(packed.segments.tolist(), lengths.tolist(), strict=True)
        ]
        masks: dict[tuple[int, ...], Tensor] = {}
        for row in parts:
            if len(row) > 2:  # a prompt with one completion is plainly causal
                keys = [(row[0], n) for n in row[1:]] if row[0] >= _LONG_PROMPT else [row]
                masks |= {key: _mask(key, dtype, packed.segments.device) for key in keys if key not in masks}
        return cls(
            index=real.flatten().nonzero().squeeze(1),
            starts=lengths.cumsum(0) - lengths,
            lengths=tuple(lengths.tolist()),
            parts=tuple(parts),
            masks=masks,
        )


def run_flat(body: Any, packed: PackedBatch) -> tuple[Tensor, Tensor]:
    """Run a model's body over the rows of `packed`; returns its states (N, H) and where each row begins, (R,)."""
    rows = FlatRows.of(packed, next(body.parameters()).dtype)
    with _attending(body.config.get_text_config(), _NAME):
        out = body(
            input_ids=packed.input_ids.flatten()[rows.index][None],
            position_ids=packed.position_ids.flatten()[rows.index][None],
            attention_mask=None,
            use_cache=False,
            prefloop_rows=rows,
        )
    return out.last_hidden_state[0], rows.starts


def recomputing(config: Any) -> dict[str, Any]:
    """Make the settings for layers that compute their activations again in the backward pass, as they did before.

    By then the model has its own attention function again.
    """
    return {"use_reentrant": False, "context_fn": partial(_as_now, config)}


def recomputes_rows(layer: Any) -> bool:
    """Say whether a layer that computes its activations again was set up by `recomputing`."""
    settings = getattr(getattr(layer, "_gradient_checkpointing_func", None), "keywords", {})
    return getattr(settings.get("context_fn"), "func", None) is _as_now


def _as_now(config: Any) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _attending(config, config._attn_implementation)


@contextmanager
def _attending(config: Any, name: str) -> Iterator[None]:
    # The attention function is a setting of the model's config that its layers read at every call.
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def flat_rows_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    prefloop_rows: FlatRows,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within rows: query (1, heads, N, D), key and value (1, kv heads, N, D); returns (1, N, heads, D).

    Raises ValueError for what it does not support: a soft cap, attention sinks, dropout.
    """
    if softcap is not None or s_aux is not None or dropout:
        raise ValueError("attention by rows knows no soft cap, no sinks and no dropout")
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    lengths = prefloop_rows.lengths
    outputs: list[Tensor] = []
    for q, k, v, parts in zip(
        query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), prefloop_rows.parts, strict=True
    ):
        if len(parts) > 2 and parts[0] >= _LONG_PROMPT:
            outputs += _prompt_once(q, k, v, parts, prefloop_rows.masks, scaling)
        else:
            outputs.append(_attend(q, k, v, prefloop_rows.masks.get(parts), scaling))
    return torch.cat(outputs, 1), None


def _prompt_once(
    q: Tensor, k: Tensor, v: Tensor, parts: tuple[int, ...], masks: dict[tuple[int, ...], Tensor], scaling: float | None
) -> Iterator[Tensor]:
    """Attend from a prompt to itself, then from each completion to the prompt and to itself."""
    queries, keys, values = q.split(parts, 2), k.split(parts, 2), v.split(parts, 2)
    yield _attend(queries[0], keys[0], values[0], None, scaling)
    for query, *own in zip(queries[1:], keys[1:], values[1:], strict=True):
        seen_keys, seen_values = torch.cat([keys[0], own[0]], 2), torch.cat([values[0], own[1]], 2)
        yield _attend(query, seen_keys, seen_values, masks[parts[0], query.shape[2]], scaling)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """Returns (1, length, heads, D); without a mask each position sees those before it and itself."""
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling).transpose(1, 2)


def _mask(parts: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make the additive mask of a whole row (n, n), or with two parts that of a completion after its prompt (n, P + n).

    0 where a query may look, the lowest number elsewhere.
    """
    segment = torch.repeat_interleave(torch.arange(len(parts), device=device), torch.tensor(parts, device=device))
    hidden = ~((segment[None, :] == segment[:, None]) | (segment[None, :] == 0)).tril_()
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, torch.finfo(dtype).min)
    return mask[parts[0] :] if len(parts) == 2 else mask


def _run_lengths(segments: list[int]) -> Iterator[int]:
    return (len(list(run)) for _, run in itertools.groupby(segments))


AttentionInterface.register(_NAME, flat_rows_attention)
