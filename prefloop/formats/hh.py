"""Anthropic's hh-rlhf: `chosen` and `rejected` transcripts, "\\n\\nHuman: …\\n\\nAssistant: …".

The labels are people's: one vote each, by the rater `crowdworker`. If the transcripts differ before the last turn,
everything from there on is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from prefloop.formats.columns import id_column, id_in
from prefloop.formats.items import preference, rows_to_records
from prefloop.formats.messages import Messages
from prefloop.formats.rows import Row, rest
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record

RATER = "crowdworker"
_TURN = re.compile(r"\n\n(Human|Assistant):")


def matches(row: Row) -> bool:
    return is_transcript(row.get("chosen")) and row.get("prompt") is None


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="hh", key=lambda row: id_in(row, id_column(row)))


def is_transcript(text: object) -> bool:
    return isinstance(text, str) and text.lstrip().startswith("Human:") and "\n\nAssistant:" in text


def convert(row: Row) -> Row:
    for key in ("chosen", "rejected"):
        if not isinstance(row.get(key), str):
            raise InvalidRecord(f"{key} is not a string" if key in row else f"{key} is missing")
    chosen, rejected = _turns(row["chosen"], "chosen"), _turns(row["rejected"], "rejected")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and chosen[shared]["role"] != "assistant":  # an answer starts with the assistant
        shared -= 1
    if shared == 0:
        raise InvalidRecord("chosen and rejected have no question in common")
    value = preference(
        chosen[:shared], _answer(chosen[shared:]), _answer(rejected[shared:]), metadata=rest(row, "chosen", "rejected")
    )
    verdict = value.pop("verdicts")[0]
    return value | {"votes": [{"rater": RATER, "pair": verdict["pair"], "choice": verdict["choice"]}]}


def _turns(text: str, at: str) -> Messages:
    parts = _TURN.split("\n\n" + text.lstrip())
    if len(parts) < 3 or parts[0].strip():
        raise InvalidRecord(f"{at} does not start with a turn of Human or Assistant")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[parts[i]], "content": parts[i + 1].strip()} for i in range(1, len(parts), 2)]


def _answer(turns: Messages) -> str:
    names = {"user": "Human", "assistant": "Assistant"}
    later = [f"\n\n{names[turn['role']]}: {turn['content']}" for turn in turns[1:]]
    return turns[0]["content"] + "".join(later)
