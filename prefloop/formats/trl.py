"""TRL's data set types: preference (explicit or implicit prompt), unpaired, prompt-completion, prompt-only, messages.

Standard (text) or conversational, in JSON, JSON Lines, CSV or Parquet. Source: TRL's documentation, "Dataset formats".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prefloop.formats.messages import (
    answer_of,
    label_of,
    messages_of,
    prompt_of,
    shared_prefix,
    shared_prompt,
    split_answer,
)
from prefloop.formats.rows import Row, preference, rated, rest, rows_to_records
from prefloop.records import InvalidRecord, Record


def matches_answers(row: Row) -> bool:
    """Everything but prompts alone, which any table has a column of."""
    return any(row.get(key) is not None for key in ("chosen", "rejected", "completion", "messages"))


def read(path: Path) -> Iterator[Record]:
    return rows_to_records(path, convert, prefix="trl")


def convert(row: Row) -> Row:
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return _preference(row)
    if row.get("completion") is not None:
        label = row.get("label")
        return rated(
            prompt_of(row.get("prompt")),
            answer_of(row["completion"], "completion"),
            None if label is None else label_of(label),
            metadata=rest(row, "prompt", "completion", "label"),
        )
    if row.get("messages") is not None:
        prompt, answer = split_answer(messages_of(row["messages"], "messages"), "messages")
        return rated(prompt, answer, None, metadata=rest(row, "messages"))
    if row.get("prompt") is not None:
        return {"prompt": prompt_of(row["prompt"]), "completions": [], "metadata": rest(row, "prompt")}
    raise InvalidRecord("has none of chosen and rejected, completion, messages, prompt")


def _preference(row: Row) -> Row:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    for key, value in (("chosen", chosen), ("rejected", rejected)):
        if value is None:
            raise InvalidRecord(f"{key} is missing")
    metadata = rest(row, "prompt", "chosen", "rejected")
    if row.get("prompt") is None:
        if isinstance(chosen, str) and isinstance(rejected, str):
            return preference(*shared_prefix(chosen, rejected), metadata=metadata)
        return preference(
            *shared_prompt(messages_of(chosen, "chosen"), messages_of(rejected, "rejected")), metadata=metadata
        )
    prompt = prompt_of(row["prompt"])
    if isinstance(chosen, list) and isinstance(rejected, list) and max(len(chosen), len(rejected)) > 1:
        # prompt beside whole conversations (UltraFeedback): the conversations have all of it
        whole = shared_prompt(messages_of(chosen, "chosen"), messages_of(rejected, "rejected"))
        return preference(*whole, metadata=metadata)
    return preference(prompt, answer_of(chosen, "chosen"), answer_of(rejected, "rejected"), metadata=metadata)
