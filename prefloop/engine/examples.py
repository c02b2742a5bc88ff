"""From the rows of a snapshot to token ids, in the order in which a run takes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.recipes.snapshots import Demonstration, RankedGroup
from prefloop.seeds import shuffler_seed
from prefloop.types import PrefloopError, TrainingPair

T = TypeVar("T")


class UnusableRow(PrefloopError):
    """A row of the snapshot that this model can't be trained on."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a prompt with the two answers of a pair (p is for the first), with the one to write, or with a group.

    `target` is the place in `item` of the answer to keep likely beside a pair: one of the two, or a third.
    """

    id: str
    item: PackItem
    weight: float
    p_first: float = 1.0
    target: int | None = None
    scores: tuple[float, ...] = ()  # of a group, one for each completion

    @property
    def n_tokens(self) -> int:
        """Completion tokens, EOS included."""
        return sum(len(ids) for ids in self.item.completions)


def encode_pairs(
    rows: Sequence[TrainingPair], tokenizer: Any, *, max_length: int | None, with_target: bool = False
) -> list[Example]:
    """Encode pairs; ids that a policy sampled are taken as they are. Raises UnusableRow, UnusablePrompt.

    `with_target` adds the answer to keep likely: the row's own, else the better one of the two.
    """
    examples = []
    for row in rows:
        first = row.first_ids or encode_completion(tokenizer, row.first)
        second = row.second_ids or encode_completion(tokenizer, row.second)
        completions: tuple[tuple[int, ...], ...] = (first, second)
        target = None
        if with_target:
            better = first if row.p_first >= 0.5 else second
            wanted = better
            if row.target is not None:
                wanted = row.target_ids or encode_completion(tokenizer, row.target)
            completions = completions if wanted in completions else (first, second, wanted)
            target = completions.index(wanted)
        item = PackItem(encode_prompt(tokenizer, row.prompt), completions)
        examples.append(Example(row.id, item, row.weight, row.p_first, target))
    return _checked(examples, tokenizer, max_length)


def encode_groups(rows: Sequence[RankedGroup], tokenizer: Any, *, max_length: int | None) -> list[Example]:
    """Encode ranked groups. Raises UnusableRow, UnusablePrompt."""
    examples = []
    for row in rows:
        ids = row.completion_ids or ((),) * len(row.completions)
        completions = tuple(
            one or encode_completion(tokenizer, text) for one, text in zip(ids, row.completions, strict=True)
        )
        item = PackItem(encode_prompt(tokenizer, row.prompt), completions)
        examples.append(Example(row.id, item, row.weight, scores=row.scores))
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


def batch_of(examples: Sequence[T], step: int, *, batch: int, seed: int) -> list[T]:
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
