"""UltraFeedback as its makers publish it: an instruction, four answers, and a judge's ratings of each aspect.

`overall_score` and every aspect's `Rating` are pointwise scores of judges named `ultrafeedback/ASPECT`. The binarised
sets made from it (chosen, rejected) are TRL's format.
Source: the columns of openbmb/UltraFeedback (Cui et al. 2023, arXiv:2310.01377).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefloop.formats.items import rows_to_records
from prefloop.formats.rows import Row, number_in, rest, text_in
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record

JUDGE = "ultrafeedback"


def matches(row: Row) -> bool:
    answers = row.get("completions")
    return isinstance(row.get("instruction"), str) and isinstance(answers, list) and "id" not in row


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="ultrafeedback")


def convert(row: Row) -> Row:
    prompt = text_in(row, "instruction")
    answers = row.get("completions")
    if not isinstance(answers, list):
        raise InvalidRecord("completions is not a list")
    completions, scores = [], []
    for i, answer in enumerate(answers):
        if not isinstance(answer, dict) or not isinstance(answer.get("response"), str):
            raise InvalidRecord(f"completions[{i}] has no response")
        model = answer.get("model")
        completions.append({"text": answer["response"], "model": model if isinstance(model, str) else ""})
        if answer.get("overall_score") is not None:
            scores.append(_score("overall", i, number_in(answer, "overall_score", 0, 100)))
        for aspect, said in (answer.get("annotations") or {}).items():
            scores += _rating(str(aspect), i, said)
    return {
        "prompt": prompt,
        "completions": completions,
        "scores": scores,
        "metadata": rest(row, "instruction", "completions"),
    }


def _rating(aspect: str, i: int, said: Any) -> list[Row]:
    """An aspect's rating; "N/A" means that the judge gave none, and is kept as such."""
    one = said[0] if isinstance(said, list) and said else said
    value = one.get("Rating") if isinstance(one, dict) else None
    if value is None:
        return []
    try:
        return [_score(aspect, i, float(value))]
    except (TypeError, ValueError):
        return [{"judge": f"{JUDGE}/{aspect}", "completion": i, "value": None, "state": "unparseable"}]


def _score(aspect: str, i: int, value: float) -> Row:
    return {"judge": f"{JUDGE}/{aspect}", "completion": i, "value": value}
