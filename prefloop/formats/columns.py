"""Any table of pairs, by naming its columns: prompt, first, second, and who won.

`Mapping` says which column holds what. `guess` proposes one from the columns' names and values; a person looks at the
first rows and puts it right. The label column may say A/B, left/right, tie, both bad, or a column's own name; numbers
mean one thing in one file and another in the next, so `first_value` and `second_value` say what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from prefloop.formats.messages import answer_of, prompt_of
from prefloop.formats.rows import DATASET, Row, rest, rows_to_records
from prefloop.records import InvalidRecord, Record
from prefloop.types import PrefloopError

_PROMPTS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "context",
    "conversation",
    "task",
    "text",
    "messages",
)
_ANSWERS = ("response", "answer", "completion", "output", "generation", "reply", "candidate", "text", "model", "option")
_PAIRS = (("left", "right"), ("chosen", "rejected"), ("first", "second"), ("a", "b"))
_LABELS = ("choice", "winner", "label", "preference", "preferred", "better", "verdict", "annotation")
_SIDE = re.compile(rf"(?:{'|'.join(_ANSWERS)})[ _-]?(\d+|[a-d])", re.IGNORECASE)
_WORDS: dict[str, int | str] = {
    "a": 0, "left": 0, "first": 0, "b": 1, "right": 1, "second": 1, "tie": "tie", "equal": "tie", "draw": "tie",
    "0.5": "tie", "both bad": "both_bad", "both_bad": "both_bad", "neither": "both_bad", "tie (bothbad)": "both_bad",
    "skip": "skip", "": "skip",
}  # fmt: skip


class BadMapping(PrefloopError):
    """A mapping that names no column of the file, or leaves out one that is needed."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column holds what; an empty name means that there is none.

    Either `chosen` and `rejected`, or `first` and `second` with, perhaps, `label` (and `rater`, whose vote it is; else
    it is a verdict of the judge `dataset`).
    """

    prompt: str = ""
    chosen: str = ""
    rejected: str = ""
    first: str = ""
    second: str = ""
    label: str = ""
    rater: str = ""
    first_model: str = ""
    second_model: str = ""
    id: str = ""
    first_value: str = ""
    second_value: str = ""

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
        """Raises BadMapping where a part is missing, or names a column that is not there."""
        if not self.prompt:
            raise BadMapping("no column is mapped to prompt")
        ordered, decided = bool(self.first and self.second), bool(self.chosen and self.rejected)
        if ordered == decided:
            raise BadMapping("map either chosen and rejected, or first and second")
        if bool(self.first_value) != bool(self.second_value) or (self.first_value and not self.label):
            raise BadMapping("first_value and second_value say what the label column's values mean: give all three")
        for column in self.columns:
            if column not in columns:
                raise BadMapping(f"there is no column {column!r}; there are: {', '.join(map(str, columns))}")

    @property
    def columns(self) -> list[str]:
        names = (item.name for item in fields(self) if not item.name.endswith("_value"))
        return [getattr(self, name) for name in names if getattr(self, name)]


def read(path: Path, mapping: Mapping) -> Iterator[Record]:
    """Read a table's rows by a mapping. Raises RecordsError, UnreadableFile."""
    return rows_to_records(path, lambda row: convert(row, mapping), prefix="table")


def convert(row: Row, mapping: Mapping) -> Row:
    prompt = prompt_of(row.get(mapping.prompt), mapping.prompt)
    names = (mapping.first or mapping.chosen, mapping.second or mapping.rejected)
    answers = [answer_of(row.get(name), name) for name in names]
    models = [str(row.get(name) or "") if name else "" for name in (mapping.first_model, mapping.second_model)]
    choice: int | str | None = 0 if mapping.chosen else None
    if mapping.label:
        choice = _choice(row.get(mapping.label), mapping, names)
    if mapping.chosen and answers[1].encode() < answers[0].encode():  # the better one is not always the first
        answers.reverse()
        models.reverse()
        choice = 1
    record: Row = {
        "prompt": prompt,
        "completions": [{"text": text, "model": model} for text, model in zip(answers, models, strict=True)],
        "metadata": rest(row, *mapping.columns),
    }
    if choice is not None and (rater := mapping.rater and str(row.get(mapping.rater) or "")):
        record["votes"] = [{"rater": rater, "pair": [0, 1], "choice": choice}]
    elif choice is not None and choice != "skip":
        record["verdicts"] = [{"judge": DATASET, "pair": [0, 1], "choice": choice, "state": "ok"}]
    if mapping.id:
        record["id"] = str(row.get(mapping.id))
    return record


def guess(columns: Sequence[str]) -> Mapping:
    """Propose a mapping from the columns' names alone; what could not be guessed stays empty."""
    try:
        prompt = prompt_column(dict.fromkeys(columns, ""))
    except InvalidRecord:
        prompt = ""
    label = next((name for name in columns if name.strip().lower() in _LABELS), "")
    rater = next((n for n in columns if n.lower() in ("rater", "annotator", "user", "worker", "annotator_id")), "")
    by_name = {name.strip().lower(): name for name in columns}
    if "chosen" in by_name and "rejected" in by_name:
        return Mapping(prompt=prompt, chosen=by_name["chosen"], rejected=by_name["rejected"])
    try:
        first, second = answer_columns(dict.fromkeys((c for c in columns if c not in (prompt, label, rater)), ""))
    except InvalidRecord:
        first = second = ""
    return Mapping(prompt=prompt, first=first, second=second, label=label, rater=rater)


def prompt_column(row: Row) -> str:
    """Find the column that holds the prompt. Raises InvalidRecord naming the columns that there are."""
    by_name = {str(name).strip().lower(): str(name) for name in row}
    for name in _PROMPTS:
        if name in by_name:
            return by_name[name]
    raise InvalidRecord(f"no column looks like a prompt; there are: {', '.join(map(str, row))}")


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
