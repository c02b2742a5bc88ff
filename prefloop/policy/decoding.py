"""Step-by-step decoding with a key-value cache that is allocated once and expanded from one prompt to n answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from typing_extensions import override

from prefloop.policy.loading import UnloadableModel
from prefloop.policy.scoring import body, output_head, sliding_window


class Decoder:
    """Decodes a batch of rows with any model whose attention keeps keys and values; the model itself is unchanged."""

    def __init__(self, model: Any) -> None:
        self._body = body(model)
        self._head = output_head(model)
        self._window = sliding_window(model)
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._cache = GroupCache()
        self._mask: Tensor | None = None
        self._positions = torch.empty(0)

    def prefill(self, prompts: Sequence[Sequence[int]], repeats: Tensor, max_new: int) -> Tensor:
        """Process each prompt once and make `repeats` (len(prompts),) rows of it; returns logits (rows, V).

        Prompts are padded on the left, so that all rows write the same column of the cache at every step.
        """
        logits, real = self._read(prompts, max_new)
        longest = real.shape[1]
        self._cache.expand(repeats, longest + max_new)
        self._positions = real.sum(1).repeat_interleave(repeats)
        self._mask = None
        if not bool(real.all()):
            full = torch.zeros(len(self._positions), 1, 1, longest + max_new, dtype=self._dtype, device=self._device)
            full[..., :longest].masked_fill_(~real.repeat_interleave(repeats, 0)[:, None, None], self._least())
            self._mask = full
        return logits.repeat_interleave(repeats, 0)

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token a row, (rows,), and return the next logits (rows, V)."""
        mask = None if self._mask is None else self._mask[..., : self._cache.length + 1]
        hidden = self._forward(tokens[:, None], mask, self._positions[:, None])
        self._positions = self._positions + 1
        return self._head(hidden[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Remove all rows but these."""
        self._cache.keep(rows)
        self._positions = self._positions[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]

    def _read(self, prompts: Sequence[Sequence[int]], max_new: int) -> tuple[Tensor, Tensor]:
        """Fill a new cache with the prompts; returns last logits (prompts, V) and a mask without padding (prompts,
        P).
        """
        longest = max(map(len, prompts))
        lengths = torch.tensor([len(ids) for ids in prompts], device=self._device)
        ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=self._device)
        columns = torch.arange(longest, device=self._device) - (longest - lengths)[:, None]
        real = columns >= 0
        mask = None if bool(real.all()) else self._prefill_mask(real)
        if mask is not None and self._window and longest + max_new > self._window:
            # without a mask the model makes its own, window and all; one that is given switches the window off
            raise ValueError("beyond the sliding window, prompts that are decoded together must be equally long")
        self._cache = GroupCache()
        return self._head(self._forward(ids, mask, columns.clamp(min=0))[:, -1]), real

    def _forward(self, ids: Tensor, mask: Tensor | None, positions: Tensor, **more: Any) -> Tensor:
        out = self._body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **more,
        )
        self._cache.advance(ids.shape[1])
        return out.last_hidden_state

    def _prefill_mask(self, real: Tensor) -> Tensor:
        length = real.shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool, device=real.device).tril() & real[:, None, :]
        allowed |= torch.eye(length, dtype=torch.bool, device=real.device)  # padding looks at itself
        mask = torch.zeros(allowed.shape, dtype=self._dtype, device=real.device)
        return mask.masked_fill_(~allowed, self._least())[:, None]

    def _least(self) -> float:
        return torch.finfo(self._dtype).min


class GroupCache(Cache):
    """Keys and values of all layers in buffers (rows, heads, columns, head size) that are written in place."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.length = 0  # columns that are complete in every layer
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @override
    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        key, value = key_states, value_states
        if layer_idx == len(self._keys):  # prefill: what the model made is the cache
            self._keys.append(key)
            self._values.append(value)
            return key, value
        end = self.length + key.shape[2]
        self._keys[layer_idx][:, :, self.length : end] = key
        self._values[layer_idx][:, :, self.length : end] = value
        return self._keys[layer_idx][:, :, :end], self._values[layer_idx][:, :, :end]

    def advance(self, columns: int) -> None:
        if not self._keys:
            raise UnloadableModel("the model keeps no keys and values, so it cannot be sampled from here")
        self.length += columns

    def expand(self, repeats: Tensor, columns: int) -> None:
        """Repeat each prompt's rows and make room for `columns` columns."""
        for store in (self._keys, self._values):
            for layer, old in enumerate(store):
                rows = int(repeats.sum())
                new = old.new_empty(rows, old.shape[1], columns, old.shape[3])
                new[:, :, : self.length] = old.repeat_interleave(repeats, 0)
                store[layer] = new

    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """The keys and the values, a tensor a layer."""
        return self._keys, self._values

    def keep(self, rows: Tensor) -> None:
        """Remove all rows but these."""
        for store in (self._keys, self._values):
            for layer, old in enumerate(store):
                new = old.new_empty(len(rows), *old.shape[1:])
                new[:, :, : self.length] = old[rows, :, : self.length]
                store[layer] = new

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    @override
    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.length

    @override
    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.length + query_length, 0

    @property
    @override
    def is_compileable(self) -> bool:
        return False

    @property
    @override
    def is_sliding(self) -> list[bool]:
        return [False] * max(1, len(self._keys))
