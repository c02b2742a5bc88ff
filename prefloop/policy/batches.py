"""Packing: the completions of one prompt share it in one row, and rows are batched under a token budget.

A row is `prompt, completion 1, completion 2, ...`. A completion sees the prompt and itself (block attention mask) and
its positions restart after the prompt, so that the model computes the same for it as in a row of its own. If a batch
has one completion per row, no mask is needed: padding is on the right and attention is causal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PAD = -1  # segment of padding; 0 is the prompt, k >= 1 the k-th completion of the row
_PACKED_ROW_TOKENS = 2048  # attention costs length squared: longer groups take several rows
# What a forward pass costs besides its tokens, in tokens: on a CPU little, on an accelerator its launches.
_PASS_TOKENS = 128
_ACCELERATOR_PASS_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class PackItem:
    """One prompt and the completions after it; a completion may be empty (no ids)."""

    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("a prompt needs at least one token: something must predict the first one")


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows of one forward pass. R rows of length L; T completion tokens of `n_completions` completions.

    Completions are numbered over the batch in the order of `slots`, which gives (item, completion) of each as
    indices into what `pack_groups` was given. All completions of an item are in one batch.
    """

    items: tuple[PackItem, ...]
    slots: tuple[tuple[int, int], ...]
    input_ids: Tensor  # (R, L)
    position_ids: Tensor  # (R, L)
    segments: Tensor  # (R, L) 0 prompt, k the k-th completion of the row, -1 padding
    predict_row: Tensor  # (T,) row of the position that predicts a completion token
    predict_position: Tensor  # (T,)
    targets: Tensor  # (T,) the token that is predicted
    owner: Tensor  # (T,) number of the completion it belongs to
    last_row: Tensor  # (n_completions,) where each completion ends (the prompt's end if it is empty)
    last_position: Tensor  # (n_completions,)
    shared: bool  # some row holds more than one completion: a block mask is needed

    @property
    def n_completions(self) -> int:
        return len(self.slots)

    @property
    def n_tokens(self) -> int:
        """Computed tokens, padding included."""
        return self.input_ids.numel()

    def lengths(self) -> Tensor:
        """Count the tokens of each completion, (n_completions,)."""
        return torch.bincount(self.owner, minlength=self.n_completions)

    def block_mask(self, dtype: torch.dtype) -> Tensor:
        """Make the additive attention mask (R, 1, L, L): 0 where a query may look, the lowest number elsewhere.

        Padding looks at itself only, so that no row of the softmax is empty.
        """
        key, query = self.segments[:, None, :], self.segments[:, :, None]
        length = self.segments.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        allowed = causal & ((key == query) | (key == 0)) & (query != _PAD)
        allowed |= torch.eye(length, dtype=torch.bool, device=self.segments.device)
        mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]

    def to(self, device: torch.device | str) -> PackedBatch:
        names = [name for name in self.__slots__ if isinstance(getattr(self, name), Tensor)]
        moved = {name: getattr(self, name).to(device) for name in names}
        rest = {name: getattr(self, name) for name in self.__slots__ if name not in moved}
        return PackedBatch(**rest, **moved)

    def unshared(self) -> PackedBatch:
        """Arrange the same completions one per row, in the same order of slots."""
        rows = [[(slot, _completion(self.items, self._local(slot)))] for slot in range(self.n_completions)]
        prompts = [self.items[self._local(slot)[0]].prompt_ids for slot in range(self.n_completions)]
        return _build(self.items, self.slots, list(zip(prompts, rows, strict=True)), self.input_ids.device)

    def _local(self, slot: int) -> tuple[int, int]:
        """The slot's (item, completion) with the item counted within this batch."""
        order = {item: place for place, item in enumerate(dict.fromkeys(item for item, _ in self.slots))}
        item, completion = self.slots[slot]
        return order[item], completion


def pack_groups(
    items: Sequence[PackItem], *, token_budget: int, shared: bool = True, device: torch.device | str = "cpu"
) -> list[PackedBatch]:
    """Pack prompts with their completions into batches of at most `token_budget` tokens, padding included.

    Items of similar length go together, and their order is cut into batches in the cheapest way: padding costs as much
    as text, and every batch has the fixed cost of a forward pass. So batches are not in the order of `items`; `slots`
    gives the mapping. An item larger than the budget makes a batch of its own. `shared=False` gives each completion a
    row of its own.
    """
    if token_budget < 1:
        raise ValueError("token_budget must be at least 1")
    plans = [(index, _rows_of(item, shared=shared)) for index, item in enumerate(items) if item.completions]
    lengths = [max(_row_length(items[index], row) for row in rows) for index, rows in plans]
    order = sorted(range(len(plans)), key=lambda at: (lengths[at], plans[at][0]))
    plans, lengths = [plans[at] for at in order], [lengths[at] for at in order]
    price = _PASS_TOKENS if torch.device(device).type == "cpu" else _ACCELERATOR_PASS_TOKENS
    cuts = _cheapest_cuts(lengths, [len(rows) for _, rows in plans], token_budget, price)
    return [_close(items, plans[start:end], device) for start, end in cuts]


def _cheapest_cuts(lengths: Sequence[int], n_rows: Sequence[int], budget: int, price: int) -> list[tuple[int, int]]:
    """Cut sorted items into runs with the lowest sum of rows · longest + price, none above the budget."""
    best: list[tuple[int, int]] = [(0, 0)]  # up to each item: (cost, where its last run starts)
    for end in range(1, len(lengths) + 1):
        longest, rows = lengths[end - 1], n_rows[end - 1]
        found = (best[end - 1][0] + rows * longest + price, end - 1)
        for start in range(end - 2, -1, -1):
            rows += n_rows[start]
            if rows * longest > budget:
                break
            found = min(found, (best[start][0] + rows * longest + price, start))
        best.append(found)
    cuts, end = [], len(lengths)
    while end:
        start = best[end][1]
        cuts.append((start, end))
        end = start
    return cuts[::-1]


def scatter(batches: Sequence[PackedBatch], values: Sequence[Sequence[float]], n_items: int) -> list[list[float]]:
    """Put per-completion values of batches back into the order of the items."""
    out: list[dict[int, float]] = [{} for _ in range(n_items)]
    for batch, batch_values in zip(batches, values, strict=True):
        for (item, completion), value in zip(batch.slots, batch_values, strict=True):
            out[item][completion] = float(value)
    return [[row[index] for index in sorted(row)] for row in out]


def _row_length(item: PackItem, row: Sequence[int]) -> int:
    return len(item.prompt_ids) + sum(len(item.completions[index]) for index in row)


def _rows_of(item: PackItem, *, shared: bool) -> list[list[int]]:
    """Divide an item's completions over rows, the longest first, so that rows come out about equally long."""
    order = range(len(item.completions))
    if not shared:
        return [[index] for index in order]
    total = sum(len(completion) for completion in item.completions)
    room = max(_PACKED_ROW_TOKENS - len(item.prompt_ids), len(item.prompt_ids), max(map(len, item.completions)), 1)
    n_rows = -(-total // room) or 1
    rows: list[list[int]] = [[] for _ in range(n_rows)]
    used = [0] * n_rows
    for index in sorted(order, key=lambda i: (-len(item.completions[i]), i)):
        row = used.index(min(used))
        rows[row].append(index)
        used[row] += len(item.completions[index])
    return [sorted(row) for row in rows if row]


def _completion(items: Sequence[PackItem], place: tuple[int, int]) -> tuple[int, ...]:
    return items[place[0]].completions[place[1]]


def _close(
    items: Sequence[PackItem], plans: Sequence[tuple[int, list[list[int]]]], device: torch.device | str
) -> PackedBatch:
    slots = [(index, completion) for index, rows in plans for completion in sorted(c for row in rows for c in row)]
    number = {slot: place for place, slot in enumerate(slots)}
    rows = [
        (items[index].prompt_ids, [(number[index, c], items[index].completions[c]) for c in row])
        for index, plan_rows in plans
        for row in plan_rows
    ]
    return _build(tuple(items[index] for index, _ in plans), tuple(slots), rows, device)


def _build(
    items: tuple[PackItem, ...],
    slots: tuple[tuple[int, int], ...],
    rows: Sequence[tuple[tuple[int, ...], Sequence[tuple[int, tuple[int, ...]]]]],
    device: torch.device | str,
) -> PackedBatch:
    length = max(len(prompt) + sum(len(ids) for _, ids in parts) for prompt, parts in rows)
    tokens, positions, segments = [], [], []
    predict_row: list[int] = []
    predict_position: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    last = [(0, 0)] * len(slots)
    for row, (prompt, parts) in enumerate(rows):
        end_of_prompt = len(prompt) - 1
        row_tokens, row_positions, row_segments = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for segment, (slot, ids) in enumerate(parts, start=1):
            start = len(row_tokens)
            if ids:
                predict_row += [row] * len(ids)
                predict_position += [end_of_prompt, *range(start, start + len(ids) - 1)]
                targets += ids
                owner += [slot] * len(ids)
            last[slot] = (row, start + len(ids) - 1 if ids else end_of_prompt)
            row_tokens += ids
            row_positions += range(len(prompt), len(prompt) + len(ids))
            row_segments += [segment] * len(ids)
        padding = length - len(row_tokens)
        tokens.append(row_tokens + [0] * padding)
        positions.append(row_positions + [0] * padding)
        segments.append(row_segments + [_PAD] * padding)

    def tensor(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return PackedBatch(
        items=items,
        slots=slots,
        input_ids=tensor(tokens),
        position_ids=tensor(positions),
        segments=tensor(segments),
        predict_row=tensor(predict_row),
        predict_position=tensor(predict_position),
        targets=tensor(targets),
        owner=tensor(owner),
        last_row=tensor([row for row, _ in last]),
        last_position=tensor([position for _, position in last]),
        shared=any(len(parts) > 1 for _, parts in rows),
    )
