"""The training rows of a step, packed for the model once and used in every pass.

A minibatch is packed the same way when its old log-probs are computed and when it is trained on, so that in the first
pass the ratio of the two is 1 to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prefloop.engine.sharding import computing
from prefloop.policy.batches import PackedBatch, PackItem, pack_groups
from prefloop.policy.logps import sum_by_sequence
from prefloop.policy.scoring import TokenStates, forward_tokens, unshared_because


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with the answers for the loss; the meaning of the numbers depends on the loss."""

    item: PackItem
    weight: float = 1.0
    p_first: float = 1.0  # of a pair
    desirable: bool = True  # of a single answer
    numbers: tuple[float, ...] = ()  # one for each answer: its score, or its reward
    finished: tuple[bool, ...] = ()  # whether each answer ended by itself
    id: str = ""  # of a stored row
    target: int | None = None  # place of the answer to keep likely in addition to a pair: one of the two, or a third
    references: tuple[float, ...] = ()  # log-prob sums of the answers under the reference, where they were read before
    mismatched: Row | None = None  # the prompt with an answer to another one: looked at before a step, not learnt from

    @property
    def n_tokens(self) -> int:
        """Completion tokens, EOS included."""
        return sum(len(ids) for ids in self.item.completions)


@dataclass(slots=True)
class Piece:
    """Rows of one forward pass, with values computed earlier; T tokens of C answers, in order of `slots`."""

    packed: PackedBatch
    rows: list[Row]  # in the order in which they stand in `packed`
    places: list[int]  # for each answer, which of `rows` it belongs to
    kept: dict[str, Tensor] = field(default_factory=dict)

    @property
    def first_of_row(self) -> Tensor:
        """Number of the first answer of each row, (len(rows),)."""
        first: dict[int, int] = {}
        for number, place in enumerate(self.places):
            first.setdefault(place, number)
        return torch.tensor([first[place] for place in range(len(self.rows))], device=self.packed.owner.device)

    def column(self, values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.packed.owner.device)

    def weights(self) -> Tensor:
        """The weight of each row, (len(rows),)."""
        return self.column([row.weight for row in self.rows])

    def numbers(self) -> Tensor:
        """The number of each answer, (C,)."""
        return self.column([self.rows[place].numbers[index] for place, index in self.answers()])

    def answers(self) -> list[tuple[int, int]]:
        """For each answer, its row's index in `rows` and its own index in the row."""
        return [(place, index) for place, (_, index) in zip(self.places, self.packed.slots, strict=True)]

    def sums(self, tokens: Tensor) -> Tensor:
        """Sum token values (T,) over each answer, (C,)."""
        return sum_by_sequence(tokens, self.packed.owner, self.packed.n_completions)

    def references(self, dtype: torch.dtype) -> Tensor:
        """The reference's log-prob sums of the answers, (C,), as they were read before the first step."""
        return self.column([self.rows[place].references[at] for place, at in self.answers()], dtype)

    def padded(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Arrange token values (T,) as (C, longest) with a mask of real tokens; padding is 0."""
        owner, place = self.packed.owner, self._position()
        longest = int(place.max()) + 1 if len(place) else 1
        out = tokens.new_zeros(self.packed.n_completions, longest)
        mask = torch.zeros(out.shape, dtype=torch.bool, device=out.device)
        out[owner, place], mask[owner, place] = tokens, True
        return out, mask

    def flat(self, values: Tensor) -> Tensor:
        """Turn (C, longest) back into (T,)."""
        return values[self.packed.owner, self._position()]

    def _position(self) -> Tensor:
        """The index of each token in its answer, (T,); an answer's tokens are contiguous."""
        owner = self.packed.owner
        index = torch.arange(len(owner), device=owner.device)
        start = torch.full((self.packed.n_completions,), len(owner), device=owner.device)
        start = start.scatter_reduce(0, owner, index, reduce="amin")
        return index - start[owner]


def pieces_of(model: Any, rows: Sequence[Row], *, token_budget: int) -> list[Piece]:
    """Pack rows for the model; prompts are shared if its attention supports a block mask."""
    if not rows:  # a process whose share of a small batch is empty
        return []
    device = next(model.parameters()).device
    longest = max(len(row.item.prompt_ids) + max(map(len, row.item.completions)) for row in rows)
    shared = not unshared_because(model, longest)
    packs = pack_groups([row.item for row in rows], token_budget=token_budget, shared=shared, device=device)
    pieces = []
    for packed in packs:
        order = {item: place for place, item in enumerate(dict.fromkeys(item for item, _ in packed.slots))}
        pieces.append(Piece(packed, [rows[item] for item in order], [order[item] for item, _ in packed.slots]))
    return pieces


def shortest_piece(model: Any, rows: Sequence[Row]) -> Piece:
    """Pack the shortest of the rows alone."""
    shortest = min(rows, key=lambda row: len(row.item.prompt_ids) + row.n_tokens)
    (piece,) = pieces_of(model, [shortest], token_budget=1)
    return piece


def token_logps(model: Any, piece: Piece) -> Tensor:
    """Compute the log-probs (T,) of the piece's tokens under another policy, without gradient."""
    with torch.no_grad():
        return computing([model], partial(forward_tokens, model, piece.packed, with_grad=False)).logps


__all__ = ["Piece", "Row", "TokenStates", "pieces_of", "shortest_piece", "token_logps"]
