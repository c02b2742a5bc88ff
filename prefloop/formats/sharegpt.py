"""ShareGPT-style rows, as LLaMA-Factory has them: conversations with chosen and rejected; messages with a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from prefloop.formats.asking import asked_in, prompt_around
from prefloop.formats.columns import id_column, id_in
from prefloop.formats.items import preference, rated, rows_to_records
from prefloop.formats.messages import answer_of, label_of, messages_of, split_answer
from prefloop.formats.rows import Row, rest
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record


def matches(row: Row) -> bool:
    return row.get("conversations") is not None or (row.get("messages") is not None and "label" in row)


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="sharegpt", key=lambda row: id_in(row, id_column(row)))


def convert(row: Row) -> Row:
    key = "conversations" if row.get("conversations") is not None else "messages"
    if row.get(key) is None:
        raise InvalidRecord("has neither conversations nor messages")
    messages = messages_of(row[key], key)
    asked = replace(asked_in(row, weak=False), question="", extra="")
    metadata = rest(row, key, "chosen", "rejected", "label", "kto_tag", *asked.columns)
    if row.get("chosen") is not None or row.get("rejected") is not None:
        if not messages:
            raise InvalidRecord(f"{key} is empty")
        chosen, rejected = answer_of(row.get("chosen"), "chosen"), answer_of(row.get("rejected"), "rejected")
        return preference(prompt_around(messages, row, asked), chosen, rejected, metadata=metadata)
    label = row.get("label", row.get("kto_tag"))
    prompt, answer = split_answer(messages, key)
    turns = prompt_around(prompt, row, asked)
    return rated(turns, answer, None if label is None else label_of(label), metadata=metadata)
