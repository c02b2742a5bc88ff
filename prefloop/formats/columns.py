"""Any table of pairs, by naming its columns: prompt, first, second, and who won.

`Mapping` says which column holds what. `guess` proposes one from the columns' names; a person looks at the first rows
and corrects it. The label column may say A/B, left/right, tie, both bad, or a column's own name; numbers mean different
things in different files, so `first_value` and `second_value` give their meaning. Rows with one id, and rows of one
pair by several raters or judges, are one item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from prefloop.formats.asking import Asked, asked_in, prompt_around, prompt_in
from prefloop.formats.items import NoPreference, preference, rows_to_records
from prefloop.formats.messages import answer_of, messages_of, shared_prefix, shared_prompt, unpacked
from prefloop.formats.rows import DATASET, Row, rest
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record
from prefloop.types import PrefloopError

IDS = ("id", "pair_id", "comparison_id", "item_id", "example_id", "sample_id", "record_id", "uid", "uuid", "guid")
_ANSWERS = (
    "response", "answer", "completion", "output", "generation", "reply", "candidate", "text", "model", "option",
    "summary", "translation",
)  # fmt: skip
_PAIRS = (("left", "right"), ("first", "second"), ("a", "b"))
_CHOSEN = (
    ("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response_chosen", "response_rejected"),
    ("chosen_answer", "rejected_answer"), ("accepted", "rejected"), ("preferred", "dispreferred"),
    ("preferred", "rejected"), ("better", "worse"), ("better_response", "worse_response"), ("winner", "loser"),
    ("positive", "negative"), ("y_w", "y_l"), ("output_w", "output_l"), ("win", "lose"),
)  # fmt: skip
_LABELS = ("choice", "winner", "label", "preference", "preferred", "better", "verdict", "annotation")
_RATERS = (
    "rater", "annotator", "user", "worker", "labeler", "labeller", "evaluator", "reviewer", "annotator_id", "rater_id",
    "user_id", "worker_id", "evaluator_id",
)  # fmt: skip
_JUDGES = ("judge", "judge_model", "judge_name")
_SIDE = re.compile(rf"(?:{'|'.join(_ANSWERS)})s?[ _-]?(\d+|[a-d])", re.IGNORECASE)
_WORDS: dict[str, int | str] = {
    "a": 0, "left": 0, "first": 0, "b": 1, "right": 1, "second": 1, "tie": "tie", "equal": "tie", "draw": "tie",
    "0.5": "tie", "both bad": "both_bad", "both_bad": "both_bad", "neither": "both_bad", "tie (bothbad)": "both_bad",
    "skip": "skip", "": "skip",
}  # fmt: skip
_VALUES = ("first_value", "second_value", "encoding")  # parts that are no column


class BadMapping(PrefloopError):
    """A mapping that names no column of the file, or lacks a necessary one."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column holds what; an empty name means that there is none.

    Either `chosen` and `rejected`, or `first` and `second` with, perhaps, `label` (and `rater`, whose vote it is, or
    `judge`, whose verdict; else it is a verdict of the judge `dataset`). Without `prompt`, chosen and rejected begin
    with it. With nothing but an `encoding`, the columns are guessed.
    """

    prompt: str = ""
    system: str = ""
    input: str = ""
    history: str = ""
    chosen: str = ""
    rejected: str = ""
    first: str = ""
    second: str = ""
    label: str = ""
    rater: str = ""
    judge: str = ""
    first_model: str = ""
    second_model: str = ""
    id: str = ""
    first_value: str = ""
    second_value: str = ""
    encoding: str = ""

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> Mapping:
        """Read `part=column` texts, as `import_records --map` takes them. Raises BadMapping."""
        known = [item.name for item in fields(cls)]
        values: dict[str, str] = {}
        for pair in pairs:
            part, equals, column = pair.partition("=")
            if not equals or part not in known:
                raise BadMapping(f"a mapping is PART=COLUMN with PART one of {', '.join(known)}, not {pair!r}")
            values[part] = column
        return cls(**values)

    def check(self, columns: Sequence[str]) -> None:
        """Raises BadMapping if a part is missing, or names a column that does not exist."""
        ordered, decided = bool(self.first and self.second), bool(self.chosen and self.rejected)
        if not self.prompt and not decided:
            raise BadMapping("no column is mapped to prompt")
        if ordered == decided:
            raise BadMapping("map either chosen and rejected, or first and second")
        if bool(self.first_value) != bool(self.second_value) or (self.first_value and not self.label):
            raise BadMapping("first_value and second_value say what the label column's values mean: give all three")
        for column in self.columns:
            if column not in columns:
                raise BadMapping(f"there is no column {column!r}; there are: {', '.join(map(str, columns))}")

    @property
    def columns(self) -> list[str]:
        names = (item.name for item in fields(self) if is_column(item.name))
        return [getattr(self, name) for name in names if getattr(self, name)]

    @property
    def asked(self) -> Asked:
        return Asked(self.prompt, self.input, self.system, self.history)

    @property
    def names_columns(self) -> bool:
        return bool(self.columns)


def is_column(part: str) -> bool:
    """Say whether a part of a mapping names a column; the others hold a value."""
    return part not in _VALUES


def read(source: Source, mapping: Mapping, *, named: bool) -> Iterator[Record]:
    """Read a table's rows by a mapping; ids come from its id column if a person `named` it.

    Raises RecordsError, UnreadableFile.
    """
    return rows_to_records(
        source, lambda row: convert(row, mapping, named=named), prefix="table", key=lambda row: _item(row, mapping)
    )


def _item(row: Row, mapping: Mapping) -> object:
    """Identify the item of a row: by its id, else by its question and answers if it may have several raters."""
    if mapping.id:
        return id_in(row, mapping.id)
    if not (mapping.rater or mapping.judge):
        return None
    asked = [row.get(name) for name in mapping.asked.columns]
    return [asked, sorted(str(row.get(name)) for name in (mapping.first, mapping.second))]


def id_in(row: Row, name: str) -> object:
    """Give a row's id; None where it has none."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        return None
    return ["id", str(value)]


def id_column(names: Iterable[str]) -> str:
    """Find the column that holds the id, by its name; empty where there is none."""
    by_name = {str(name).strip().lower(): str(name) for name in names}
    return next((by_name[name] for name in IDS if name in by_name), "")


def convert(row: Row, mapping: Mapping, *, named: bool = True) -> Row:
    metadata = rest(row, *mapping.columns)
    if not named:  # the id says which rows are one item, and stays beside
        metadata |= rest({name: row.get(name) for name in (mapping.id,) if name})
    record = _decided(row, mapping, metadata) if mapping.chosen else _compared(row, mapping, metadata)
    if mapping.id and named:
        if id_in(row, mapping.id) is None:
            raise InvalidRecord(f"{mapping.id} is not an id: neither text nor a whole number")
        record["id"] = str(row[mapping.id])
    return record


def _decided(row: Row, mapping: Mapping, metadata: Row) -> Row:
    """A chosen and a rejected answer."""
    prompt, chosen, rejected = whole_pair(row, mapping.asked, mapping.chosen, mapping.rejected)
    record = preference(prompt, chosen, rejected, metadata=metadata)
    (verdict,) = record["verdicts"]
    models = [str(row.get(name) or "") if name else "" for name in (mapping.first_model, mapping.second_model)]
    for answer, model in zip(record["completions"], reversed(models) if verdict["choice"] else models, strict=True):
        answer["model"] = model
    return record | _said(row, mapping, verdict["choice"])


def _compared(row: Row, mapping: Mapping, metadata: Row) -> Row:
    """Two answers and, if known, which is better."""
    names = (mapping.first, mapping.second)
    answers = [answer_of(row.get(name), name) for name in names]
    models = [str(row.get(name) or "") if name else "" for name in (mapping.first_model, mapping.second_model)]
    choice = _choice(row.get(mapping.label), mapping, names) if mapping.label else None
    said = {} if choice is None else _said(row, mapping, choice)
    if answers[0] == answers[1] and "votes" not in said:
        raise NoPreference
    record: Row = {
        "prompt": prompt_in(row, mapping.asked),
        "completions": [{"text": text, "model": model} for text, model in zip(answers, models, strict=True)],
        "metadata": metadata,
    }
    return record | said


def _said(row: Row, mapping: Mapping, choice: int | str) -> Row:
    """A vote if there is a rater, else a verdict."""
    if rater := mapping.rater and _name(row, mapping.rater):
        return {"votes": [{"rater": rater, "pair": [0, 1], "choice": choice}], "verdicts": []}
    if choice == "skip":
        return {"verdicts": [], "notes": {f"rows whose {mapping.label or 'label'} is empty: they have no label": 1}}
    judge = (mapping.judge and _name(row, mapping.judge)) or DATASET
    return {"verdicts": [{"judge": judge, "pair": [0, 1], "choice": choice, "state": "ok"}]}


def _name(row: Row, column: str) -> str:
    value = row.get(column)
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def whole_pair(row: Row, asked: Asked, better: str, worse: str) -> tuple[Any, str, str]:
    """Give prompt, chosen and rejected answer. Without a question column both answers begin with the prompt."""
    chosen, rejected = (unpacked(row.get(name), name) for name in (better, worse))
    for name, value in ((better, chosen), (worse, rejected)):
        if value is None:
            raise InvalidRecord(f"{name} is missing")
    lists = isinstance(chosen, list) and isinstance(rejected, list)
    if not asked.question or row.get(asked.question) is None:
        if lists:
            talk, first, second = shared_prompt(messages_of(chosen, better), messages_of(rejected, worse))
            return prompt_around(talk, row, asked), first, second
        for name, value in ((better, chosen), (worse, rejected)):
            if not isinstance(value, str):
                raise InvalidRecord(f"{name} is not a string")
        text, first, second = shared_prefix(str(chosen), str(rejected))
        return prompt_around(text, row, asked), first, second
    if lists and max(len(chosen), len(rejected)) > 1:  # type: ignore[arg-type]
        # a question beside whole conversations (UltraFeedback): the conversations have all of it
        talk, first, second = shared_prompt(messages_of(chosen, better), messages_of(rejected, worse))
        return prompt_around(talk, row, asked), first, second
    return prompt_in(row, asked), answer_of(chosen, better), answer_of(rejected, worse)


def guess(columns: Sequence[str]) -> Mapping:
    """Propose a mapping from the columns' names alone; what could not be guessed stays empty."""
    by_name = {str(name).strip().lower(): str(name) for name in columns}
    asked = asked_in(columns)
    parts = {"prompt": asked.question, "input": asked.extra, "system": asked.system, "history": asked.history}
    parts["id"] = id_column(columns)
    parts["rater"] = next((by_name[name] for name in _RATERS if name in by_name), "")
    if not parts["rater"]:
        parts["judge"] = next((by_name[name] for name in _JUDGES if name in by_name), "")
    for better, worse in _CHOSEN:
        if better in by_name and worse in by_name:
            return Mapping(**parts, chosen=by_name[better], rejected=by_name[worse])
    label = next((by_name[name] for name in _LABELS if name in by_name), "")
    taken = {*parts.values(), label}
    try:
        first, second = answer_columns(dict.fromkeys((c for c in columns if c not in taken), ""))
    except InvalidRecord:
        first = second = ""
    models = [by_name.get(f"model_{side}", "") for side in "ab"]
    if first in models or not all(models):
        models = ["", ""]
    return Mapping(**parts, first=first, second=second, label=label, first_model=models[0], second_model=models[1])


def prompt_column(row: Row) -> str:
    """Find the column that holds the prompt. Raises InvalidRecord listing the columns."""
    found = asked_in(row).question
    if not found:
        raise InvalidRecord(f"no column looks like a prompt; there are: {', '.join(map(str, row))}")
    return found


def answer_columns(row: Row, *, at_most: int = 2) -> list[str]:
    """Find the columns that hold the answers, in order. Raises InvalidRecord where there are fewer than two."""
    by_name = {str(name).strip().lower(): str(name) for name in row}
    for pair in _PAIRS:
        if all(name in by_name for name in pair):
            return [by_name[name] for name in pair]
    families: dict[str, list[str]] = {}
    for low, name in by_name.items():
        if found := _SIDE.fullmatch(low):
            families.setdefault(low[: found.start(1)], []).append(name)
    for names in families.values():
        if 2 <= len(names) <= at_most:
            return sorted(names, key=lambda name: (len(name), name.lower()))
    raise InvalidRecord(f"no two columns look like answers; there are: {', '.join(map(str, row))}")


def _choice(value: object, mapping: Mapping, names: tuple[str, str]) -> int | str:
    word = "" if value is None else str(value).strip().lower()
    if mapping.first_value and word in (mapping.first_value.lower(), mapping.second_value.lower()):
        return int(word == mapping.second_value.lower())
    if word in (name.strip().lower() for name in names):
        return int(word == names[1].strip().lower())
    if word in _WORDS:
        return _WORDS[word]
    side = _SIDE.fullmatch(word)
    if side and side[1] in ("a", "b"):
        return int(side[1] == "b")
    hint = " (say which value means which answer: first_value and second_value)" if word.isdigit() else ""
    raise InvalidRecord(f"{mapping.label} is {str(value)[:40]!r}, neither an answer nor a tie{hint}")
