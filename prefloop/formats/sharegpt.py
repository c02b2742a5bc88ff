"""ShareGPT-style rows, as LLaMA-Factory has them: conversations with chosen and rejected; messages with a label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prefloop.formats.messages import answer_of, label_of, messages_of, split_answer
from prefloop.formats.rows import Row, preference, rated, rest, rows_to_records
from prefloop.records import InvalidRecord, Record


def matches(row: Row) -> bool:
    return row.get("conversations") is not None or (row.get("messages") is not None and "label" in row)


def read(path: Path) -> Iterator[Record]:
    return rows_to_records(path, convert, prefix="sharegpt")


def convert(row: Row) -> Row:
    key = "conversations" if row.get("conversations") is not None else "messages"
    if row.get(key) is None:
        raise InvalidRecord("has neither conversations nor messages")
    messages = messages_of(row[key], key)
    system = row.get("system")
    if isinstance(system, str) and system:
        messages = [{"role": "system", "content": system}, *messages]
    metadata = rest(row, key, "chosen", "rejected", "label", "kto_tag", "system")
    if row.get("chosen") is not None or row.get("rejected") is not None:
        if not messages:
            raise InvalidRecord(f"{key} is empty")
        chosen, rejected = answer_of(row.get("chosen"), "chosen"), answer_of(row.get("rejected"), "rejected")
        return preference(messages, chosen, rejected, metadata=metadata)
    label = row.get("label", row.get("kto_tag"))
    prompt, answer = split_answer(messages, key)
    return rated(prompt, answer, None if label is None else label_of(label), metadata=metadata)
