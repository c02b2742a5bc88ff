"""Label Studio's exports of projects that compare answers: JSON, and the flat JSON_MIN and CSV.

A `pairwise` result selects left or right; a `ranker` puts answers in order; a `choices` result may say which is better,
tie or both bad; a `rating` of an answer is a score. One control is the comparison; results of others are counted and
never mistaken for it. Annotations are votes (or rankings) of their `completed_by`, predictions verdicts (or rankings)
of their `model_version`. A cancelled annotation is a skip. The prompt and the answers are found by name (see
`columns`), or are the `items` of a list. The task's id is the item. Source: Label Studio 1.23's exports and its
Pairwise, Ranker and Rating tags; the converter's JSON_MIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefloop.formats.asking import asked_in, prompt_in
from prefloop.formats.columns import answer_columns, id_in
from prefloop.formats.items import rows_to_records
from prefloop.formats.messages import answer_of
from prefloop.formats.rows import Row, rest
from prefloop.formats.said import (
    WORDS,
    Answered,
    answered,
    compares,
    comparing,
    groups_in,
    is_aside,
    number_of,
    place_of,
    rated_answer,
    sampled,
)
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record
from prefloop.records.values import loads

_SIDES = {"left": 0, "right": 1}
_PAIRWISE = "(pairwise)"  # whatever the tag is called
_MIN = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id", "agreement")  # JSON_MIN's own
_KINDS = ("choices", "rating", "ranker", "selected", "text", "taxonomy", "number", "labels", "datetime")


def matches(row: Row) -> bool:
    if isinstance(row.get("data"), dict):
        return "annotations" in row or "predictions" in row
    return "annotator" in row and "annotation_id" in row


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="label-studio", key=_item)


def _item(row: Row) -> object:
    return id_in(row, "id") or ["data", row.get("data") or _data(row)]


def convert(row: Row) -> Row:
    if "data" not in row and "annotation_id" in row:
        row = _task(row)
    data = row.get("data")
    if not isinstance(data, dict):
        raise InvalidRecord("data is not an object")
    asked = asked_in(data)
    names, answers, used = _answers(data, asked.columns)
    record: Row = {
        "prompt": prompt_in(data, asked),
        "completions": [{"text": text} for text in answers],
        "votes": [],
        "rankings": [],
        "verdicts": [],
        "scores": [],
        "metadata": rest(data, *asked.columns, *used),
        "notes": {},
    }
    if name := id_in(row, "id"):
        record["id"] = f"label-studio-{name[1]}"[:200]  # type: ignore[index]
    people = [(one, _results(one, names)) for one in _list(row, "annotations")]
    models = [(one, _results(one, names)) for one in _list(row, "predictions")]
    everything = [said for one, results in (*people, *models) if not one.get("was_cancelled") for _, said in results]
    pairwise = any(said.question == _PAIRWISE and said.says for said in everything)
    control = _PAIRWISE if pairwise else comparing(everything)
    for one, results in people:
        _annotation(record, one, results, control, names)
    for one, results in models:
        _say(record, results, control, names, judge=str(one.get("model_version") or "predictions"), raw=_score(one))
    for draft in _list(row, "drafts"):
        _count(record, "Label Studio drafts that were not submitted", bool(draft))
    return record


def _answers(data: Row, asked: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Give the answers' names, their texts, and the columns that they and their list stand in."""
    listed = next(
        (
            (name, value)
            for name, value in data.items()
            if isinstance(value, list)
            and len(value) > 1
            and all(isinstance(one, dict) and "id" in one for one in value)
        ),
        None,
    )
    try:
        names = answer_columns({k: v for k, v in data.items() if k not in asked}, at_most=50)
    except InvalidRecord:
        if listed is None:
            raise
        texts = [_body(one, f"{listed[0]}[{i}]") for i, one in enumerate(listed[1])]
        return [str(one["id"]) for one in listed[1]], texts, [listed[0]]
    used, texts = names, [answer_of(data[name], name) for name in names]
    if listed is not None and [str(one["id"]) for one in listed[1]] != names:
        by_text = {_body(one, listed[0]): str(one["id"]) for one in listed[1] if _has_body(one)}
        if set(by_text) == set(texts) and len(set(texts)) == len(texts):  # the same answers under other names
            names = [by_text[text] for text in texts]
    return names, texts, used


def _has_body(one: Row) -> bool:
    return any(isinstance(one.get(key), str) for key in ("body", "text", "html", "title"))


def _body(one: Row, at: str) -> str:
    text = next((one[key] for key in ("body", "text", "html", "title") if isinstance(one.get(key), str)), None)
    if text is None:
        raise InvalidRecord(f"{at} has no body")
    return str(text)


def _list(row: Row, key: str) -> list[Row]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InvalidRecord(f"{key} is not a list of objects")
    return value


def _annotation(
    record: Row, one: Row, results: list[tuple[Row, Answered]], control: str | None, names: list[str]
) -> None:
    who: Any = one.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    rater = f"label-studio-{who}" if isinstance(who, int) else str(who or "label-studio")
    seconds = one.get("lead_time")
    about: Row = {"at": str(one.get("created_at") or "")}
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        about["seconds"] = float(seconds)
    if not one.get("was_cancelled"):
        _say(record, results, control, names, rater=rater, about=about)
    elif len(names) == 2:
        record["votes"].append({"rater": rater, "pair": [0, 1], "choice": "skip"} | about)
    else:
        _count(record, "Label Studio annotations that were cancelled")


def _say(
    record: Row,
    results: list[tuple[Row, Answered]],
    control: str | None,
    names: list[str],
    *,
    rater: str = "",
    judge: str = "",
    about: Row | None = None,
    raw: str = "",
) -> None:
    """Store one annotation or prediction where it belongs, and count the rest."""
    who = {"rater": rater} if rater else {"judge": judge}
    told = [i for i, (_, said) in enumerate(results) if said.question == control and said.says]
    if control == _PAIRWISE and not told:  # that tag has no tie; a choice beside it may say that
        told = [
            i for i, (_, said) in enumerate(results) if said.choice in WORDS.values() and not is_aside(said.question)
        ]
    if len({str(results[i][1]) for i in told}) > 1:
        raise InvalidRecord(f"one annotation answers {control!r} in two ways")
    for i, (result, said) in enumerate(results):
        if i in told:
            if i > told[0]:
                continue  # the same said twice
            if said.groups is not None:
                record["rankings"].append(who | {"groups": said.groups})
            for pair in said.pairs(len(names)):
                if rater:
                    record["votes"].append(who | pair | (about or {}))
                else:
                    verdict = {**who, **pair, "state": "ok"} | ({"raw": raw} if raw else {})
                    record["verdicts"].append(verdict | {"sample": sampled(record["verdicts"], verdict)})
        elif (place := _rated(result, names)) is not None:
            value = number_of(result["value"]["rating"])
            record["scores"].append({"judge": f"{rater or judge}/rating"[:120], "completion": place, "value": value})
        else:
            kind, name = str(result.get("type") or "unknown")[:40], str(result.get("from_name") or "")[:60]
            _count(record, f"Label Studio results of {kind} {name!r} that do not compare the answers")
    if not results:
        _count(record, "Label Studio annotations without a result")


def _rated(result: Row, names: list[str]) -> int | None:
    """Say which answer a rating is for: the one that its control refers to, or is named after."""
    value = result.get("value")
    if not isinstance(value, dict) or number_of(value.get("rating")) is None:
        return None
    place = place_of(result.get("to_name"), names)
    if place is None:
        found = rated_answer(str(result.get("from_name")), names)
        place = found[0] if found else None
    return place


def _count(record: Row, what: str, wanted: bool = True) -> None:
    if wanted:
        record["notes"][what] = record["notes"].get(what, 0) + 1


def _score(one: Row) -> str:
    return f"score {one['score']}" if one.get("score") is not None else ""


def _results(one: Row, names: list[str]) -> list[tuple[Row, Answered]]:
    """Read the results of an annotation."""
    out = []
    for result in _list(one, "result"):
        value = result.get("value")
        kind, control = result.get("type"), str(result.get("from_name") or "")
        if not isinstance(value, dict):
            continue
        if kind == "pairwise":
            side = value.get("selected")
            if side not in _SIDES:
                raise InvalidRecord(f"a pairwise result selects {side!r}, neither left nor right")
            said = Answered(_PAIRWISE, value, choice=_SIDES[side] if len(names) == 2 else None, named=True)
        elif kind == "ranker":
            said = answered(control, value, names, groups=_ranked(value.get("ranker"), names))
        elif kind == "choices":
            words = value.get("choices")
            word = words[0] if isinstance(words, list) and len(words) == 1 else None
            said = answered(control, word, names)
        else:
            said = Answered(control, value)
        out.append((result, said))
    return out


def _ranked(value: Any, names: list[str]) -> list[list[int]] | None:
    """Read one bucket in order; several buckets have no order among them."""
    if isinstance(value, dict):
        filled = [bucket for bucket in value.values() if bucket]
        value = filled[0] if len(filled) == 1 else None
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        return None
    return groups_in(((one, place) for place, one in enumerate(value)), names)


def _task(row: Row) -> Row:
    """Rebuild from a row of JSON_MIN or CSV the task with one annotation that it was made from."""
    data, results = _data(row), []
    for name, value in row.items():
        if name in data or name in _MIN:
            continue
        said = _unpacked(value)
        results += [_result(name, one) for one in (said if isinstance(said, list) else [said])]
    annotation = {
        "completed_by": _number(row.get("annotator")),
        "created_at": row.get("created_at"),
        "lead_time": _number(row.get("lead_time")),
        "result": [result for result in results if result],
    }
    return {"id": row.get("id"), "data": data, "annotations": [annotation]}


def _data(row: Row) -> Row:
    """Return the task's data of a flat row: the question, the answers and all columns without a result."""
    asked = asked_in(row).columns
    try:
        names = answer_columns({k: v for k, v in row.items() if k not in (*asked, *_MIN)}, at_most=50)
    except InvalidRecord:
        names = []
    return {
        name: value
        for name, value in row.items()
        if name in (*asked, *names) or not (name in _MIN or _is_said(name, value, names))
    }


def _is_said(name: str, value: Any, names: list[str]) -> bool:
    """Whether a column of a flat row belongs to a control: it holds results, or says which answer is better."""
    value = _unpacked(value)
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, dict) and any(kind in one for kind in _KINDS) for one in value)
    if isinstance(value, dict):
        return any(kind in value for kind in _KINDS)
    said = answered(name, value, names)
    return said.says and (said.named or compares(name) is not None)


def _unpacked(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return loads(value.encode())
        except InvalidRecord:
            return value
    return value


def _result(name: str, value: Any) -> Row | None:
    if isinstance(value, str):
        return {"type": "choices", "from_name": name, "value": {"choices": [value]}}
    if not isinstance(value, dict):
        return None
    kind = next((kind for kind in _KINDS if kind in value), None)
    return {"type": "pairwise" if kind == "selected" else kind, "from_name": name, "to_name": name, "value": value}


def _number(value: Any) -> Any:
    """Read a number in CSV's spelling; an annotator may be a name."""
    try:
        return int(value) if value.strip().isdecimal() else float(value)
    except (AttributeError, ValueError):
        return value
