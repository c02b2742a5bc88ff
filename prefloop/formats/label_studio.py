"""Label Studio's JSON export of pairwise projects: tasks with data, annotations and predictions.

A `pairwise` result selects left or right; a `choices` result may say tie or both bad. Annotations are votes of their
`completed_by`, predictions are verdicts of their `model_version`. A cancelled annotation is a skip. The export does not
say which column was on which side, so the prompt and the two answers are found by name: see `columns`; else map them.
Source: Label Studio 1.23's export and its Pairwise tag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefloop.formats.columns import answer_columns, prompt_column
from prefloop.formats.messages import prompt_of
from prefloop.formats.rows import Row, rest, rows_to_records, text_in
from prefloop.records import InvalidRecord, Record

_SIDES: dict[str, int | str] = {"left": 0, "right": 1}
_WORDS: dict[str, int | str] = {
    "left": 0, "a": 0, "1": 0, "first": 0, "right": 1, "b": 1, "2": 1, "second": 1,
    "tie": "tie", "equal": "tie", "both": "tie", "same": "tie",
    "both bad": "both_bad", "both_bad": "both_bad", "neither": "both_bad",
}  # fmt: skip


def matches(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and ("annotations" in row or "predictions" in row)


def read(path: Path) -> Iterator[Record]:
    return rows_to_records(path, convert, prefix="label-studio")


def convert(row: Row) -> Row:
    data = row.get("data")
    if not isinstance(data, dict):
        raise InvalidRecord("data is not an object")
    prompt, (first, second) = prompt_column(data), answer_columns(data)
    names = {first: 0, second: 1}
    votes = [_vote(one, names) for one in _list(row, "annotations")]
    verdicts = []
    sampled: Counter[str] = Counter()
    for one in _list(row, "predictions"):
        judge = str(one.get("model_version") or "predictions")
        choice = _choice(one, names)
        if choice is None:
            continue
        verdicts.append(
            {"judge": judge, "pair": [0, 1], "sample": sampled[judge], "choice": choice, "state": "ok"}
            | ({"raw": f"score {one['score']}"} if one.get("score") is not None else {})
        )
        sampled[judge] += 1
    return {
        "prompt": prompt_of(data[prompt], prompt),
        "completions": [{"text": text_in(data, first)}, {"text": text_in(data, second)}],
        "votes": [vote for vote in votes if vote],
        "verdicts": verdicts,
        "metadata": rest(data, prompt, first, second),
    }


def _list(row: Row, key: str) -> list[Row]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidRecord(f"{key} is not a list of objects")
    return value


def _vote(one: Row, names: dict[str, int]) -> Row | None:
    who: Any = one.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    choice = "skip" if one.get("was_cancelled") else _choice(one, names)
    if choice is None:
        return None
    seconds = one.get("lead_time")
    said: Row = {"rater": f"label-studio-{who}" if isinstance(who, int) else str(who or "label-studio"), "pair": [0, 1]}
    said |= {"choice": choice, "at": str(one.get("created_at") or "")}
    return said | ({"seconds": float(seconds)} if isinstance(seconds, int | float) and seconds >= 0 else {})


def _choice(one: Row, names: dict[str, int]) -> int | str | None:
    """What an annotation's results say; None where none of them is about the pair."""
    said: int | str | None = None
    for result in _list(one, "result"):
        value = result.get("value")
        if not isinstance(value, dict):
            continue
        if result.get("type") == "pairwise":
            side = value.get("selected")
            if side not in _SIDES:
                raise InvalidRecord(f"a pairwise result selects {side!r}, neither left nor right")
            said = _SIDES[side]
        elif result.get("type") == "choices" and said is None:
            words = value.get("choices")
            word = str(words[0]).strip().lower() if isinstance(words, list) and len(words) == 1 else ""
            said = names.get(word, _WORDS.get(word))
    return said
