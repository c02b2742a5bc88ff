"""Encoding the rows of a snapshot to token ids, in the order in which a run uses them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from prefloop.engine.pieces import Row
from prefloop.losses.declaration import Target
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import Answered, encode_rows
from prefloop.recipes.snapshots import Demonstration, RankedGroup
from prefloop.seeds import shuffler_seed
from prefloop.types import BadData, TrainingPair

T = TypeVar("T")


class UnusableRow(BadData):
    """A row of the snapshot that can't be used to train this model."""


def encode_pairs(
    rows: Sequence[TrainingPair], tokenizer: Any, *, max_length: int | None, target: Target = ""
) -> list[Row]:
    """Encode pairs; ids that a policy sampled are used unchanged. Raises UnusableRow.

    `target` adds the answer to keep likely: the better one of the two, or the row's own where it has one.
    """
    wanted = []
    for row in rows:
        answers = [(row.first, row.first_ids, row.first_cut), (row.second, row.second_ids, row.second_cut)]
        if target in ("best", "data") and row.target is not None:
            answers.append((row.target, row.target_ids, row.target_cut))
        texts, ids, cut = zip(*answers, strict=True)
        wanted.append(Answered(row.prompt, texts, ids, cut))
    examples = []
    for row, (prompt, (first, second, *more)) in zip(rows, _encoded(tokenizer, rows, wanted), strict=True):
        completions: tuple[tuple[int, ...], ...] = (first, second)
        place = None
        if target:
            better = first if row.p_first >= 0.5 else second
            kept = more[0] if more else better
            completions = completions if kept in completions else (first, second, kept)
            place = completions.index(kept)
        examples.append(Row(PackItem(prompt, completions), row.weight, row.p_first, id=row.id, target=place))
    return _checked(examples, tokenizer, max_length)


def encode_groups(rows: Sequence[RankedGroup], tokenizer: Any, *, max_length: int | None) -> list[Row]:
    """Encode ranked groups. Raises UnusableRow."""
    wanted = [Answered(row.prompt, row.completions, row.completion_ids, row.cut) for row in rows]
    examples = [
        Row(PackItem(prompt, completions), row.weight, numbers=row.scores, id=row.id)
        for row, (prompt, completions) in zip(rows, _encoded(tokenizer, rows, wanted), strict=True)
    ]
    return _checked(examples, tokenizer, max_length)


def encode_demonstrations(rows: Sequence[Demonstration], tokenizer: Any, *, max_length: int | None) -> list[Row]:
    """Encode answers to imitate. Raises UnusableRow."""
    wanted = [Answered(row.prompt, (row.completion,), (row.completion_ids,), (row.cut,)) for row in rows]
    examples = [
        Row(PackItem(prompt, completions), row.weight, id=row.id)
        for row, (prompt, completions) in zip(rows, _encoded(tokenizer, rows, wanted), strict=True)
    ]
    return _checked(examples, tokenizer, max_length)


def encode_answers(rows: Sequence[Demonstration], tokenizer: Any, *, max_length: int | None) -> list[Row]:
    """Encode single answers, desirable or not, each beside its prompt with an answer to another one.

    With the rows of a prompt side by side, every prompt takes the answer that stands so many rows before as the most
    frequent prompt has rows: so each answer is taken once, and, unless one prompt has more than half of the rows, by
    another prompt. Such an answer is cut where it would be too long for the model. Raises UnusableRow.
    """
    plain = encode_demonstrations(rows, tokenizer, max_length=max_length)
    places: dict[tuple[int, ...], list[int]] = {}
    for at, row in enumerate(plain):
        places.setdefault(row.item.prompt_ids, []).append(at)
    order = [at for same in places.values() for at in same]
    shift = max(map(len, places.values()))
    found = dict(zip(order, order[-shift:] + order[:-shift], strict=True))
    examples = []
    for at, (row, stored) in enumerate(zip(plain, rows, strict=True)):
        prompt, (other,) = row.item.prompt_ids, plain[found[at]].item.completions
        room = None if max_length is None else max_length - len(prompt)
        mismatched = replace(row, item=PackItem(prompt, (other[:room],)))
        examples.append(replace(row, desirable=stored.desirable, mismatched=mismatched))
    return examples


def _encoded(
    tokenizer: Any, rows: Sequence[TrainingPair | RankedGroup | Demonstration], wanted: Sequence[Answered]
) -> list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    try:
        return encode_rows(tokenizer, wanted)
    except BadData as error:
        raise UnusableRow(f"row {rows[error.index].id!r}: {error}") from error


def steps_of(n_rows: int, *, batch: int, epochs: int) -> int:
    """Count the steps of a run: the last batch of an epoch is smaller if the rows don't divide evenly."""
    return epochs * -(-n_rows // batch)


def batch_of(examples: Sequence[T], step: int, *, batch: int, seed: int) -> list[T]:
    """Return the rows of step 1, 2, …: each epoch uses every row once, in an order of its own.

    The order depends only on the seed and the epoch, so the step number is the whole position.
    """
    per_epoch = -(-len(examples) // batch)
    epoch, place = divmod(step - 1, per_epoch)
    order = list(range(len(examples)))
    random.Random(shuffler_seed(seed, "epoch", epoch)).shuffle(order)
    return [examples[index] for index in order[place * batch : (place + 1) * batch]]


def _checked(examples: list[Row], tokenizer: Any, max_length: int | None) -> list[Row]:
    n_vocabulary = len(tokenizer)
    for example in examples:
        longest = len(example.item.prompt_ids) + max(len(ids) for ids in example.item.completions)
        if max_length is not None and longest > max_length:
            raise UnusableRow(f"row {example.id!r} has {longest} tokens; the model takes {max_length}")
        if any(token >= n_vocabulary for ids in example.item.completions for token in ids):
            raise UnusableRow(f"row {example.id!r} holds token ids that the tokenizer does not have")
    return examples
