"""Argilla's records: fields, responses of people, suggestions of agents.

The question is a label (`response1`, `1`, `tie`, …) or a ranking of the answers. Submitted responses
are votes (or rankings) of their users, suggestions are verdicts of their agents; discarded ones are skips, drafts
are nothing. Fields: a prompt, and two or more answers, found by name (see `columns`).
Source: `Dataset.records.to_json` of Argilla 2 (fields, metadata, suggestions, responses by question).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefloop.formats.columns import answer_columns, prompt_column
from prefloop.formats.messages import answer_of, prompt_of
from prefloop.formats.rows import Row, rest, rows_to_records
from prefloop.records import InvalidRecord, Record

_WORDS: dict[str, int | str] = {
    "tie": "tie", "equal": "tie", "both_good": "tie", "both good": "tie",
    "both_bad": "both_bad", "both bad": "both_bad", "neither": "both_bad", "none": "both_bad", "discard": "skip",
}  # fmt: skip


def matches(row: Row) -> bool:
    return isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row)


def read(path: Path) -> Iterator[Record]:
    return rows_to_records(path, convert, prefix="argilla")


def convert(row: Row) -> Row:
    fields = row.get("fields")
    if not isinstance(fields, dict):
        raise InvalidRecord("fields is not an object")
    prompt, names = prompt_column(fields), answer_columns(fields, at_most=50)
    record: Row = {
        "prompt": prompt_of(fields[prompt], prompt),
        "completions": [{"text": answer_of(fields[name], name)} for name in names],
        "votes": [],
        "rankings": [],
        "verdicts": [],
        "metadata": {**rest(fields, prompt, *names), **(row.get("metadata") or {})},
    }
    for question, given in _questions(row, "responses"):
        for one in given if isinstance(given, list) else [given]:
            status = one.get("status", "submitted")
            if status == "draft" or (status != "discarded" and one.get("value") is None):
                continue
            value = "discard" if status == "discarded" else one["value"]
            _add(record, value, names, who=str(one.get("user_id") or "argilla"), question=question)
    sampled: Counter[str] = Counter()
    for _, one in _questions(row, "suggestions"):
        choice = _choice(one.get("value"), names)
        if choice is None or choice == "skip":
            continue
        judge = str(one.get("agent") or "suggestion")
        record["verdicts"].append(
            {"judge": judge, "pair": [0, 1], "sample": sampled[judge], "choice": choice, "state": "ok"}
        )
        sampled[judge] += 1
    return record


def _questions(row: Row, key: str) -> Iterator[tuple[str, Any]]:
    value = row.get(key) or {}
    if not isinstance(value, dict):
        raise InvalidRecord(f"{key} is not an object of questions")
    for question, given in value.items():
        rows = given if isinstance(given, list) else [given]
        if not all(isinstance(one, dict) for one in rows):
            raise InvalidRecord(f"{key}.{question} has an answer that is not an object")
        yield question, given


def _add(record: Row, value: Any, names: list[str], *, who: str, question: str) -> None:
    groups = _groups(value, names)
    if groups is not None and len(names) > 2:
        record["rankings"].append({"rater": who, "groups": groups})
        return
    choice = _choice(value, names)
    if choice is not None:  # another question: about quality, say, and not about which is better
        record["votes"].append({"rater": who, "pair": [0, 1], "choice": choice})


def _choice(value: Any, names: list[str]) -> int | str | None:
    groups = _groups(value, names)
    if groups is not None:
        return "tie" if len(groups) == 1 else groups[0][0]
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    word = str(value).strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    if word in [name.lower() for name in names]:
        return [name.lower() for name in names].index(word)
    found = re.fullmatch(r"(?:response|answer|completion|model|generation)?[ _-]?([12ab])", word)
    return {"1": 0, "a": 0, "2": 1, "b": 1}[found[1]] if found and len(names) == 2 else None


def _groups(value: Any, names: list[str]) -> list[list[int]] | None:
    """Tied groups, best first, of a ranking `[{"value": name, "rank": 1}, …]`; None where it is no ranking of all."""
    if not isinstance(value, list) or not all(isinstance(one, dict) and "rank" in one for one in value):
        return None
    ranks = {str(one.get("value")): one["rank"] for one in value}
    if set(ranks) != set(names) or not all(isinstance(rank, int) for rank in ranks.values()):
        return None
    levels = sorted(set(ranks.values()))
    return [[i for i, name in enumerate(names) if ranks[name] == level] for level in levels]
