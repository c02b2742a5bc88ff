"""Decoding that reads a prompt's keys and values once for all of its answers, not once for each.

The answers to a prompt attend to the same prefix, so their queries go through it in one matrix product; each answer's
own tokens are attended to apart, and the two softmaxes are joined exactly: with s1, s2 their log-sum-exps and o1, o2
their outputs, the whole is o2 + sigmoid(s1 - s2) (o1 - o2).
(Known as cascade or bifurcated attention: Athiwaratkun et al. 2024, arXiv:2403.08845; Juravsky et al. 2024,
arXiv:2402.05099.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AttentionInterface
from typing_extensions import override

from prefloop.policy.decoding import Decoder, GroupCache
from prefloop.policy.precision import full_dtype, in_full
from prefloop.policy.scoring import computing_in_full, sliding_window, supports_block_mask

logger = logging.getLogger(__name__)
_NAME = "prefloop_shared_prefix"


class SharedPrefixDecoder(Decoder):
    """The same rows as `Decoder`, with one copy of each prompt in memory."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._config = model.config.get_text_config()

    @override
    def prefill(self, prompts: Sequence[Sequence[int]], repeats: Tensor, max_new: int) -> Tensor:
        logits, real = self._read(prompts, max_new)
        mask = None
        if not bool(real.all()):
            mask = torch.zeros(real.shape, dtype=self._dtype, device=self._device).masked_fill_(~real, self._least())
        self._cache = SharedPrefixCache(self._cache, repeats, max_new, mask)
        self._positions = real.sum(1).repeat_interleave(repeats)
        return logits.repeat_interleave(repeats, 0)

    @override
    def step(self, tokens: Tensor) -> Tensor:
        # The attention function is a setting of the model's config that its layers read at every call.
        before = self._config._attn_implementation
        self._config._attn_implementation = _NAME
        try:
            hidden = self._forward(tokens[:, None], None, self._positions[:, None], prefloop_cache=self._cache)
        finally:
            self._config._attn_implementation = before
        self._positions = self._positions + 1
        return self._head(hidden[:, -1])

    @override
    def keep(self, rows: Tensor) -> None:
        self._cache.keep(rows)
        self._positions = self._positions[rows]


class SharedPrefixCache(GroupCache):
    """Prefixes (prompts, heads, columns, head size) once, and each row's own tokens in a `GroupCache` of rows."""

    def __init__(self, prefix: GroupCache, repeats: Tensor, max_new: int, mask: Tensor | None) -> None:
        super().__init__()
        self.prefix_keys, self.prefix_values = prefix.tensors()
        self.prefix_length = prefix.length
        self._prefix_mask = mask  # (prompts, columns), additive
        self.mask: Tensor | None = None
        self.groups = torch.repeat_interleave(torch.arange(len(repeats), device=repeats.device), repeats)
        self._place()
        rows = len(self.groups)
        self._keys = [key.new_empty(rows, key.shape[1], max_new, key.shape[3]) for key in self.prefix_keys]
        self._values = [value.new_empty(rows, value.shape[1], max_new, value.shape[3]) for value in self.prefix_values]

    @override
    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        groups, self.groups = self.groups[rows].unique_consecutive(return_inverse=True)
        if len(groups) < len(self.prefix_keys[0]):  # prompts whose answers are all done leave too
            self.prefix_keys = [key[groups] for key in self.prefix_keys]
            self.prefix_values = [value[groups] for value in self.prefix_values]
            self._prefix_mask = None if self._prefix_mask is None else self._prefix_mask[groups]
        self._place()

    def _place(self) -> None:
        """Arrange the rows, which are in order of their groups, as (groups, widest): `rows_at` there, `place` back."""
        counts = torch.bincount(self.groups)
        starts = counts.cumsum(0) - counts
        self.width = int(counts.max())
        within = torch.arange(len(self.groups), device=self.groups.device) - starts[self.groups]
        self.place = self.groups * self.width + within
        self.rows_at = torch.zeros(len(counts) * self.width, dtype=torch.long, device=self.groups.device)
        self.rows_at[self.place] = torch.arange(len(self.groups), device=self.groups.device)
        self.even = len(self.groups) == len(self.rows_at)  # nothing to pad: the layout is a view
        self.mask = None if self._prefix_mask is None else self._prefix_mask[:, None, None, :]


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    prefloop_cache: SharedPrefixCache,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend with one query a row: query (B, heads, 1, D), key and value (B, kv heads, t, D) of the row's own tokens.

    Returns (B, 1, heads, D), as the attention functions of transformers do.
    """
    cache, layer = prefloop_cache, module.layer_idx
    rows, heads, length, size = query.shape
    if length != 1:
        raise ValueError("shared-prefix attention takes one token a row")
    if s_aux is not None:
        raise ValueError("shared-prefix attention knows no attention sinks")
    kv_heads = key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    query = (query * scale).view(rows, kv_heads, heads // kv_heads, size)
    own_scores = _capped(query @ key.transpose(-1, -2), softcap)  # (B, kv, g, t)
    own = own_scores.softmax(-1, dtype=full_dtype(own_scores.dtype)).to(value.dtype) @ value

    grouped = query if cache.even else query[cache.rows_at]
    n_groups = len(cache.prefix_keys[layer])
    grouped = grouped.view(n_groups, cache.width, kv_heads, -1, size).transpose(1, 2)
    grouped = grouped.reshape(n_groups, kv_heads, -1, size)  # (G, kv, width * g, D)
    scores = _capped(grouped @ cache.prefix_keys[layer].transpose(-1, -2), softcap)
    if cache.mask is not None:
        scores = scores + cache.mask
    prefix = scores.softmax(-1, dtype=full_dtype(scores.dtype)).to(value.dtype) @ cache.prefix_values[layer]
    prefix_lse = in_full(scores).logsumexp(-1, keepdim=True)
    prefix, prefix_lse = (
        part.view(n_groups, kv_heads, cache.width, -1, part.shape[-1]).transpose(1, 2).flatten(0, 1)
        for part in (prefix, prefix_lse)
    )  # (G * width, kv, g, D or 1)
    if not cache.even:
        prefix, prefix_lse = prefix[cache.place], prefix_lse[cache.place]
    share = torch.sigmoid(prefix_lse - in_full(own_scores).logsumexp(-1, keepdim=True)).to(value.dtype)
    return torch.lerp(own, prefix, share.expand_as(own)).reshape(rows, 1, heads, size), None


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


AttentionInterface.register(_NAME, shared_prefix_attention)

_shared_works: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def decoder_for(model: Any, longest: int = 0) -> Decoder:
    """Choose how to decode a model: with a shared prefix if a test shows that it gives the same result as the plain
    way.

    `longest` counts the tokens of the longest prompt with its answer: beyond a sliding window only the plain way fits.
    """
    window = sliding_window(model)
    if window is not None and longest > window:
        return Decoder(model)
    if next(model.parameters()).device.type != "cpu":
        # there a step costs what starting its kernels costs, and sharing takes three times as many: 9,761 tokens/s
        # against 16,584 without (0.5B, 256 rows, 192-token prompts, bf16 on an H100)
        return Decoder(model)
    if model not in _shared_works:
        _shared_works[model] = _agree(model)
        if not _shared_works[model]:
            logger.warning("%s takes no attention function: prompts are not shared in decoding", type(model).__name__)
    return SharedPrefixDecoder(model) if _shared_works[model] else Decoder(model)


def _agree(model: Any) -> bool:
    with computing_in_full(model), torch.inference_mode():
        return _decodes_alike(model)


def _decodes_alike(model: Any) -> bool:
    parameter = next(model.parameters())
    size = model.config.get_text_config().vocab_size
    prompts = [[5 * i % size for i in range(1, 6)], [7 * i % size for i in range(2, 7)]]
    if supports_block_mask(model):
        prompts[1] = prompts[1][:3]
    outputs = []
    for decoder in (Decoder(model), SharedPrefixDecoder(model)):
        logits = []
        try:
            decoder.prefill(prompts, torch.tensor([2, 1], device=parameter.device), 3)
            logits.append(decoder.step(torch.tensor([1, 0, 1], device=parameter.device)))
            decoder.keep(torch.tensor([1, 2], device=parameter.device))
            logits.append(decoder.step(torch.tensor([0, 1], device=parameter.device)))
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            if isinstance(decoder, SharedPrefixDecoder):
                logger.warning("%s refused a shared prefix: %s", type(model).__name__, error)
                return False
            raise
        outputs.append(torch.cat(logits).float())
    plain, shared = outputs
    return bool((plain - shared).abs().max() <= 1e-3 * plain.abs().max().clamp(min=1.0))
