"""Argilla's records: fields, responses by people, suggestions by agents.

One question compares the answers: by a label (`response1`, `1`, `tie`, …) or by a ranking. Submitted responses to it
are votes (or rankings) of their users, suggestions are verdicts (or rankings) of their agents; discarded ones are skips
of the one pair there is, drafts are nothing. Ratings named after an answer are scores. What else was asked is counted.
Fields: a prompt, and two or more answers, found by name (see `columns`). The record's id is the item.
Source: `Dataset.records.to_json` and `to_datasets` of Argilla 2 (`QUESTION.responses` beside the fields), and Argilla
1's records (a list of responses) and data sets (`QUESTION` and `QUESTION-suggestion` beside the fields).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefloop.formats.asking import asked_in, prompt_in
from prefloop.formats.columns import answer_columns, id_in, prompt_column
from prefloop.formats.items import rows_to_records
from prefloop.formats.messages import answer_of
from prefloop.formats.rows import Row, rest
from prefloop.formats.said import Answered, answered, comparing, groups_in, number_of, rated_answer, sampled
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record
from prefloop.records.values import loads

_DISCARDED = "discarded"
_MARK = re.compile(r"(.+)(?:\.responses|\.suggestion|-suggestion)")


@dataclass(frozen=True, slots=True)
class _Given:
    """A response or a suggestion, whatever the version."""

    question: str
    value: Any
    who: str
    status: str = "submitted"
    is_agent: bool = False


def matches(row: Row) -> bool:
    if isinstance(row.get("fields"), dict):
        return "responses" in row or "suggestions" in row
    return bool(_flat_questions(row))


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="argilla", key=_item)


def _item(row: Row) -> object:
    name = next((name for name in ("id", "external_id") if id_in(row, name)), None)
    return id_in(row, name) if name else ["fields", row.get("fields") or _flat_fields(row)]


def convert(row: Row) -> Row:
    fields = row.get("fields") if "fields" in row else _flat_fields(row)
    if not isinstance(fields, dict):
        raise InvalidRecord("fields is not an object")
    prompt_column(fields)
    asked = asked_in(fields)
    names = answer_columns({k: v for k, v in fields.items() if k not in asked.columns}, at_most=50)
    names = [name for name in names if fields[name] is not None]
    metadata = row.get("metadata")
    if isinstance(metadata, str) and metadata.startswith("{"):
        metadata = loads(metadata.encode())
    record: Row = {
        "prompt": prompt_in(fields, asked),
        "completions": [{"text": answer_of(fields[name], name)} for name in names],
        "votes": [],
        "rankings": [],
        "verdicts": [],
        "scores": [],
        "metadata": {**rest(fields, *asked.columns, *names), **(metadata if isinstance(metadata, dict) else {})},
        "notes": {},
    }
    if (name := _item(row)) and isinstance(name, list) and name[0] == "id":
        record["id"] = f"argilla-{name[1]}"[:200]
    _add(record, list(_given(row)), names)
    return record


def _add(record: Row, given: list[_Given], names: list[str]) -> None:
    """Store each label where it belongs, and count the rest."""
    read = [(one, answered(one.question, one.value, names, groups=_groups(one.value, names))) for one in given]
    question = comparing(said for one, said in read if one.status == "submitted")
    skipped: set[str] = set()
    for one, said in read:
        if one.status == _DISCARDED:
            _skip(record, one, names, skipped)
        elif one.status != "submitted":
            _count(record, f"Argilla responses that were not submitted ({one.status[:40]})")
        elif one.question == question and said.says:
            _say(record, one, said, len(names))
        elif (about := rated_answer(one.question, names)) and (value := number_of(one.value)) is not None:
            place, what = about
            record["scores"].append({"judge": f"{one.who}/{what}"[:120], "completion": place, "value": value})
        elif one.value is not None:
            kind = "suggestions for" if one.is_agent else "responses to"
            _count(record, f"Argilla {kind} {one.question!r} that do not compare the answers")


def _skip(record: Row, one: _Given, names: list[str], skipped: set[str]) -> None:
    """A discarded response skips the pair, once per person; with more than two answers it is ignored."""
    if len(names) == 2 and not one.is_agent:
        if one.who not in skipped:
            record["votes"].append({"rater": one.who, "pair": [0, 1], "choice": "skip"})
        skipped.add(one.who)
    else:
        _count(record, "Argilla responses that were discarded")


def _say(record: Row, one: _Given, said: Answered, n: int) -> None:
    who = "judge" if one.is_agent else "rater"
    if said.groups is not None:
        record["rankings"].append({who: one.who, "groups": said.groups})
    for pair in said.pairs(n):
        if one.is_agent:
            verdict = {"judge": one.who, "state": "ok", **pair}
            record["verdicts"].append(verdict | {"sample": sampled(record["verdicts"], verdict)})
        else:
            record["votes"].append({"rater": one.who, **pair})


def _count(record: Row, what: str) -> None:
    record["notes"][what] = record["notes"].get(what, 0) + 1


def _groups(value: Any, names: list[str]) -> list[list[int]] | None:
    """Groups of a ranking `[{"value": name, "rank": 1}, …]`, of its object of lists."""
    if isinstance(value, dict) and isinstance(value.get("value"), list) and isinstance(value.get("rank"), list):
        return groups_in(zip(value["value"], value["rank"], strict=False), names)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(one, dict) and "rank" in one for one in value):
        return groups_in(((one.get("value"), one["rank"]) for one in value), names)
    return None


def _given(row: Row) -> Iterator[_Given]:
    if "fields" not in row:
        yield from _flat_given(row)
        return
    yield from _responses(row.get("responses"))
    yield from _suggestions(row.get("suggestions"))


def _responses(value: Any) -> Iterator[_Given]:
    if isinstance(value, list):  # Argilla 1: one response a person, the questions in it
        for one in _objects(value, "responses"):
            answers = one.get("values")
            status, who = str(one.get("status", "submitted") or "no status"), _who(one)
            if not isinstance(answers, dict) or not answers:
                yield _Given("", None, who, status)
                continue
            for question, said in answers.items():
                said = said.get("value") if isinstance(said, dict) else said
                yield _Given(str(question), said, who, status)
        return
    for question, one in _questions(value, "responses"):
        yield _Given(question, one.get("value"), _who(one), str(one.get("status", "submitted") or "no status"))


def _suggestions(value: Any) -> Iterator[_Given]:
    if isinstance(value, list):
        rows = [(str(one.get("question_name") or one.get("question")), one) for one in _objects(value, "suggestions")]
    else:
        rows = list(_questions(value, "suggestions"))
    for question, one in rows:
        status = str(one.get("status") or "submitted")  # an agent's have none
        yield _Given(question, one.get("value"), str(one.get("agent") or "suggestion"), status, is_agent=True)


def _questions(value: Any, key: str) -> Iterator[tuple[str, Row]]:
    if not isinstance(value or {}, dict):
        raise InvalidRecord(f"{key} is not an object of questions")
    for question, given in (value or {}).items():
        for one in _objects(given if isinstance(given, list) else [given], f"{key}.{question}"):
            yield str(question), one


def _objects(value: list[Any], at: str) -> list[Row]:
    if not all(isinstance(one, dict) for one in value):
        raise InvalidRecord(f"{at} has an answer that is not an object")
    return value


def _who(one: Row) -> str:
    who = one.get("user_id")
    return str(who) if isinstance(who, str | int) and str(who).strip() else "argilla"


def _flat_questions(row: Row) -> list[str]:
    """The questions of a data set whose answers are columns like the fields."""
    found = [str(mark[1]) for name in row if (mark := _MARK.fullmatch(str(name)))]
    return list(dict.fromkeys(found))


def _flat_fields(row: Row) -> Row:
    questions = _flat_questions(row)
    own = ("id", "external_id", "metadata", "status", "_server_id", "vectors", *questions)
    return {
        name: value
        for name, value in row.items()
        if name not in own and not any(name.startswith((f"{q}.", f"{q}-")) for q in questions)
    }


def _flat_given(row: Row) -> Iterator[_Given]:
    for question in _flat_questions(row):
        said = row.get(f"{question}.responses")
        if isinstance(said, list):
            users = row.get(f"{question}.responses.users") or []
            states = row.get(f"{question}.responses.status") or []
            for i, value in enumerate(said):
                who = str(users[i]) if i < len(users) and users[i] else "argilla"
                yield _Given(question, value, who, str(states[i]) if i < len(states) and states[i] else "submitted")
        said = row.get(question)
        if isinstance(said, dict) and all(isinstance(column, list) for column in said.values()):
            said = [dict(zip(said, one, strict=False)) for one in zip(*said.values(), strict=False)]
        if isinstance(said, list):
            for one in _objects(said, question):
                yield _Given(question, one.get("value"), _who(one), str(one.get("status", "submitted") or "no status"))
        for mark in (".suggestion", "-suggestion"):
            value = row.get(f"{question}{mark}")
            if value is not None:
                about = row.get(f"{question}{mark}-metadata")
                agent = row.get(f"{question}{mark}.agent") or (about.get("agent") if isinstance(about, dict) else None)
                yield _Given(question, value, str(agent or "suggestion"), is_agent=True)
