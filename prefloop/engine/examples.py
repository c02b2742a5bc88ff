"""From the rows of a snapshot to token ids, in the order in which a run takes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.recipes.snapshots import Demonstration
from prefloop.seeds import shuffler_seed
from prefloop.types import PrefloopError, TrainingPair


class UnusableRow(PrefloopError):
    """A row of the snapshot that this model can't be trained on."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a prompt with the two answers of a pair (p is for the first), or with the one to write (p unused)."""

    id: str
    item: PackItem
    weight: float
    p_first: float = 1.0

    @property
    def n_tokens(self) -> int:
        """Completion tokens, EOS included."""
        return sum(len(ids) for ids in self.item.completions)


def encode_pairs(rows: Sequence[TrainingPair], tokenizer: Any, *, max_length: int | None) -> list[Example]:
    """Encode pairs; ids that a policy sampled are taken as they are. Raises UnusableRow, UnusablePrompt."""
    examples = []
    for row in rows:
        first = row.first_ids or encode_completion(tokenizer, row.first)
        second = row.second_ids or encode_completion(tokenizer, row.second)
        item = PackItem(encode_prompt(tokenizer, row.prompt), (first, second))
        examples.append(Example(row.id, item, row.weight, row.p_first))
    return _checked(examples, tokenizer, max_length)


def encode_demonstrations(rows: Sequence[Demonstration], tokenizer: Any, *, max_length: int | None) -> list[Example]:
    """Encode answers to learn to write. Raises UnusableRow, UnusablePrompt."""
    examples = []
    for row in rows:
        ids = row.completion_ids or encode_completion(tokenizer, row.completion)
        examples.append(Example(row.id, PackItem(encode_prompt(tokenizer, row.prompt), (ids,)), row.weight))
    return _checked(examples, tokenizer, max_length)


def steps_of(n_rows: int, *, batch: int, epochs: int) -> int:
    """Count the steps of a run: the last batch of an epoch is smaller where the rows don't divide."""
    return epochs * -(-n_rows // batch)


def batch_of(examples: Sequence[Example], step: int, *, batch: int, seed: int) -> list[Example]:
    """Return the rows of step 1, 2, …: each epoch takes every row once, in an order of its own.

    The order depends on the seed and the epoch alone, so the step is all there is to a position.
    """
    per_epoch = -(-len(examples) // batch)
    epoch, place = divmod(step - 1, per_epoch)
    order = list(range(len(examples)))
    random.Random(shuffler_seed(seed, "epoch", epoch)).shuffle(order)
    return [examples[index] for index in order[place * batch : (place + 1) * batch]]


def _checked(examples: list[Example], tokenizer: Any, max_length: int | None) -> list[Example]:
    n_vocabulary = len(tokenizer)
    for example in examples:
        longest = len(example.item.prompt_ids) + max(len(ids) for ids in example.item.completions)
        if max_length is not None and longest > max_length:
            raise UnusableRow(f"row {example.id!r} has {longest} tokens; the model takes {max_length}")
        if any(token >= n_vocabulary for ids in example.item.completions for token in ids):
            raise UnusableRow(f"row {example.id!r} holds token ids that the tokenizer does not have")
    return examples
