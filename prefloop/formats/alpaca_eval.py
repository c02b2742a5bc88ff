"""AlpacaEval's annotations: two outputs for an instruction and a preference from 1 (the first) to 2 (the second).

Annotations of one pair by several annotators become one record. A whole number is a choice, 0 and 1.5 are ties,
anything between is a soft label. Rows with `annotator_index` (human cross-annotations) are votes, others are verdicts
of `annotator`; a row without a preference is an unreadable verdict. Source: the columns of tatsu-lab/alpaca_eval's
annotations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prefloop.formats.items import groups_to_records
from prefloop.formats.rows import DATASET, Row, number_in, text_in
from prefloop.formats.source import Source
from prefloop.records import Record


def matches(row: Row) -> bool:
    return all(key in row for key in ("instruction", "output_1", "output_2", "preference"))


def read(source: Source) -> Iterator[Record]:
    return groups_to_records(source, _item, _annotations, prefix="alpaca-eval")


def _item(row: Row) -> list[Any]:
    answers = sorted([str(row.get("output_1")), str(row.get("output_2"))])
    return [row.get("instruction"), row.get("input"), answers, row.get("generator_1") or row.get("generator")]


def _annotations(rows: list[Row]) -> Row:
    top = rows[0]
    answers = [text_in(top, "output_1"), text_in(top, "output_2")]
    votes, verdicts = [], []
    sampled: Counter[tuple[str, int]] = Counter()
    for row in rows:
        swapped = int(text_in(row, "output_1") != answers[0])
        order = [1, 0] if swapped else [0, 1]
        if row.get("annotator_index") is not None:
            p = _p_second(row)
            second = None if p is None else (1 - p if swapped else p)
            choice: Any = "skip" if second is None else "tie" if second == 0.5 else int(second > 0.5)
            votes.append(
                {"rater": f"annotator{row['annotator_index']}", "pair": [0, 1], "choice": choice, "order": order}
            )
            continue
        judge = row.get("annotator")
        judge = judge if isinstance(judge, str) and judge else DATASET
        said = {"judge": judge, "pair": [0, 1], "order": order, "sample": sampled[judge, swapped]}
        sampled[judge, swapped] += 1
        verdicts.append(said | _verdict(row, swapped=bool(swapped)))
    prompt, extra = text_in(top, "instruction"), top.get("input")
    kept = {key: top[key] for key in ("dataset", "datasplit") if top.get(key)}
    names = [top.get(f"generator_{k}") or top.get("generator") or "" for k in (1, 2)]
    return {
        "prompt": f"{prompt}\n\n{extra}" if isinstance(extra, str) and extra.strip() else prompt,
        "completions": [{"text": text, "model": str(name)} for text, name in zip(answers, names, strict=True)],
        "votes": votes,
        "verdicts": verdicts,
        "metadata": kept,
    }


def _p_second(row: Row) -> float | None:
    """The probability that the second output is better; None if the annotator gave nothing readable."""
    if row.get("preference") in (None, "", "null", "nan") or row["preference"] != row["preference"]:
        return None
    value = number_in(row, "preference", 0, 2)
    return 0.5 if value == 0 else number_in(row, "preference", 1, 2) - 1


def _verdict(row: Row, *, swapped: bool) -> Row:
    raw = row.get("raw_completion")
    p = _p_second(row)
    kept = {"raw": raw if isinstance(raw, str) else ""}
    if p is None:
        return {"state": "unparseable", "choice": None} | kept
    p_first = p if swapped else 1 - p
    choice: int | str = "tie" if p == 0.5 else int(p_first < 0.5)
    soft = {} if p in (0, 0.5, 1) else {"p_first": p_first}
    return {"state": "ok", "choice": choice} | soft | kept
