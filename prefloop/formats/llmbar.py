"""LLMBar: a directory with dataset.json (truth in `label`) and JUDGE/PROMPT/result.json (both orders of each pair).

`winner` is in terms of the data set's own order, however the pair was shown ("swap = True": output_2 first); anything
but "1" and "2" is unreadable. Judges are named by their directory: `GPT-4/Vanilla_NoRules`. Source:
github.com/princeton-nlp/LLMBar.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefloop.formats.opening import UnreadableFile
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, LineError, Record, RecordsError, parse_record
from prefloop.records.values import loads, plain

_ORDERS = {"swap = False": [0, 1], "swap = True": [1, 0]}
_CHOICE = {"1": 0, "2": 1}


def is_llmbar(path: Path) -> bool:
    return (path / "dataset.json").is_file()


def read(source: Source) -> Iterator[Record]:
    path = source.path
    data = _load(path / "dataset.json", path)
    results = {p.parent.relative_to(path).as_posix(): p for p in sorted(path.rglob("result.json"))}
    judged = {judge: _load(file, path) for judge, file in results.items()}
    for judge, rows in judged.items():
        if len(rows) != len(data):
            raise UnreadableFile(f"{judge}/result.json: {len(rows)} results for {len(data)} items")
    errors = []
    for i, item in enumerate(data):
        try:
            record = _record(f"{path.resolve().name}-{i + 1:04d}", item, {j: rows[i] for j, rows in judged.items()})
        except InvalidRecord as error:
            errors.append(LineError(i + 1, str(error), "item"))
            continue
        if not errors:
            yield record
    if errors:
        raise RecordsError(errors[:50])


def _load(file: Path, root: Path) -> list[Any]:
    name = file.relative_to(root).as_posix()
    try:
        value = loads(file.read_bytes())
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror or error}") from None
    except InvalidRecord as error:
        raise UnreadableFile(f"{name}: {error}") from None
    if not isinstance(value, list):
        raise UnreadableFile(f"{name}: is not a list")
    return value


def _record(record_id: str, item: Any, judged: dict[str, Any]) -> Record:
    item, _ = plain(item)
    if item.get("label") not in (1, 2):
        raise InvalidRecord("label is neither 1 nor 2")
    verdicts = [verdict for judge, row in judged.items() for verdict in _verdicts(judge, row, item)]
    return parse_record(
        {
            "id": record_id,
            "prompt": item.get("input"),
            "completions": [{"text": item.get("output_1")}, {"text": item.get("output_2")}],
            "gold": [{"pair": [0, 1], "choice": item["label"] - 1}],
            "verdicts": verdicts,
        }
    )


def _verdicts(judge: str, row: Any, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    row, _ = plain(row)
    if not isinstance(row.get("results"), list):
        raise InvalidRecord(f"{judge} has no results")
    if any(row.get(key) != item.get(key) for key in ("input", "output_1", "output_2")):
        raise InvalidRecord(f"{judge} judged another item at this place")
    for sample, orders in enumerate(row["results"]):
        for name, order in _ORDERS.items():
            said = orders.get(name) if isinstance(orders, dict) else None
            if said is None:  # this order was not asked
                continue
            if not isinstance(said, dict):
                raise InvalidRecord(f"{judge}: {name!r} is not an object")
            choice = _CHOICE.get(str(said.get("winner")))
            completion = said.get("completion")
            raw = completion[0] if isinstance(completion, list) and completion else completion
            yield {
                "judge": judge,
                "pair": [0, 1],
                "order": order,
                "sample": sample,
                "state": "unparseable" if choice is None else "ok",
                "choice": choice,
                "raw": raw if isinstance(raw, str) else "",
            }
