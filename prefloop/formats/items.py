"""From rows to records: which rows are one item, what its id is, and who gave which label.

Rows with one id are one item: their votes are collected, a row that repeats another adds nothing, and other questions
or answers under the same id are refused. A row whose two answers are equal has no preference: it is left out and
counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson

from prefloop.formats.opening import UnreadableFile
from prefloop.formats.rows import DATASET, Numbered, Row, numbered_rows, parts_of
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, LineError, Record, RecordsError, parse_record
from prefloop.records.form import MAX_ERRORS

MAX_HELD_BYTES = 500_000_000  # of a file whose rows have to be held together
EQUAL = "rows with two equal answers, which express no preference, left out"
REPEATED = "rows that repeat another row exactly, read once"

Convert = Callable[[Row], Row]
Key = Callable[[Row], object]
_SAID = ("gold", "gold_ratings", "votes", "rankings", "ratings", "verdicts", "overrides", "scores", "flags")


class NoPreference(Exception):
    """A row without a preference, because its two answers are equal."""


@dataclass(slots=True)
class _Item:
    """What the rows of one id have given so far, and in which form, so that nothing counts twice."""

    number: int
    unit: str
    value: Row
    known: set[str] = field(default_factory=set)
    samples: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, Row] = field(default_factory=dict)


def rows_to_records(source: Source, convert: Convert, *, prefix: str, key: Key = lambda row: None) -> Iterator[Record]:
    """Convert each row to a record's JSON types, check it, and give it an id made of its content.

    `key` names the item that a row is about (None: an item of its own); several rows of one item become one record.
    What `convert` puts under "notes" is counted. The same file imported again makes the same ids; equal items of one
    file are items of their own (`-2`, `-3`). Raises RecordsError at the end if any row was bad; after the first bad
    row no more records come.
    """
    errors: list[LineError] = []
    seen: Counter[str] = Counter()
    waiting = _repeated(source, key)
    held: dict[bytes | None, _Item] = {}
    for numbered in numbered_rows(source):
        source.notes.update(f"fields of bytes ({name}) left out" for name in set(numbered.left_out))
        try:
            row = _row(numbered)
            name = _key(key, row)
            if name in waiting:
                waiting[name] -= 1
            value = _converted(convert, row, numbered, source)
            if name in waiting:
                if value is not None:
                    _gather(held, name, value, numbered, source)
                if waiting[name]:
                    continue
                value = _whole(held.pop(name, None))
            if value is None:
                continue
            digest = digest_of(value if name is None else {k: value[k] for k in ("prompt", "completions")})
            seen[digest] += 1
            repeat = f"-{seen[digest]}" if seen[digest] > 1 else ""
            record = parse_record({"id": f"{prefix}-{digest}{repeat}"} | value)
        except InvalidRecord as error:
            errors.append(LineError(numbered.number, str(error), numbered.unit))
            if len(errors) >= MAX_ERRORS:
                raise RecordsError(errors, stopped=True) from None
            continue
        if not errors:
            yield record
    if errors:
        raise RecordsError(errors)


def groups_to_records(
    source: Source, key: Key, convert: Callable[[list[Row]], Row], *, prefix: str
) -> Iterator[Record]:
    """Convert all rows of one item at once: single answers, say, that make one record together.

    The items come in the order of their first rows. Holds the file in memory, so larger ones than MAX_HELD_BYTES are
    refused. Raises RecordsError (at the first row of the item at fault) or UnreadableFile.
    """
    refuse_large(source)
    errors: list[LineError] = []
    groups: dict[str, list[Row]] = {}
    first: dict[str, Numbered] = {}
    for numbered in numbered_rows(source):
        if isinstance(numbered.row, str):
            errors.append(LineError(numbered.number, numbered.row, numbered.unit))
            continue
        name = digest_of(key(numbered.row))
        groups.setdefault(name, []).append(numbered.row)
        first.setdefault(name, Numbered(numbered.number, numbered.unit, ""))
    for name, rows in groups.items():
        try:
            record = parse_record({"id": f"{prefix}-{name}"} | convert(rows))
        except InvalidRecord as error:
            errors.append(LineError(first[name].number, str(error), first[name].unit))
            continue
        if not errors:
            yield record
    if errors:
        errors.sort(key=lambda error: error.line)
        raise RecordsError(errors[:MAX_ERRORS], stopped=len(errors) > MAX_ERRORS)


def refuse_large(source: Source) -> None:
    """Raises UnreadableFile if a file is too large for its rows to be held in memory."""
    files = parts_of(source.path) if source.path.is_dir() else [source.path]
    if sum(file.stat().st_size for file in files) > MAX_HELD_BYTES:
        raise UnreadableFile(f"{source.path.name}: is larger than {MAX_HELD_BYTES:,} bytes; import it in parts")


def preference(prompt: object, chosen: str, rejected: str, *, metadata: Row) -> Row:
    """Make a record (JSON types, no id) in which `chosen` was preferred, by an unnamed rater.

    The answer with the lower SHA-256 comes first: if the better answer were always first, a judge that prefers the
    first position would seem right. Raises NoPreference if the two are equal.
    """
    if chosen == rejected:
        raise NoPreference
    flip = hashlib.sha256(rejected.encode()).digest() < hashlib.sha256(chosen.encode()).digest()
    completions = [{"text": rejected}, {"text": chosen}] if flip else [{"text": chosen}, {"text": rejected}]
    verdict = {"judge": DATASET, "pair": [0, 1], "choice": int(flip), "state": "ok"}
    return {"prompt": prompt, "completions": completions, "metadata": metadata, "verdicts": [verdict]}


def rated(prompt: object, completion: str, good: bool | None, *, metadata: Row) -> Row:
    """Make a record of one answer; a good or bad label becomes a flag: a score of 1 or 0, marked as one."""
    scores = [] if good is None else [{"judge": DATASET, "completion": 0, "value": float(good), "flag": True}]
    return {"prompt": prompt, "completions": [{"text": completion}], "metadata": metadata, "scores": scores}


def digest_of(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


def _row(numbered: Numbered) -> Row:
    if isinstance(numbered.row, str):
        raise InvalidRecord(numbered.row)
    return numbered.row


def _converted(convert: Convert, row: Row, numbered: Numbered, source: Source) -> Row | None:
    """Convert a row and count what it left out; None if it has no preference."""
    try:
        value = convert(row)
    except NoPreference:
        source.notes[EQUAL] += 1
        return None
    except InvalidRecord as error:
        if numbered.left_out:
            raise InvalidRecord(
                f"{error} ({', '.join(sorted(set(numbered.left_out)))}: binary data is not read)"
            ) from None
        raise
    source.notes.update(value.pop("notes", {}))
    return value


def _key(key: Key, row: Row) -> bytes | None:
    name = key(row)
    return None if name is None else bytes.fromhex(digest_of(name))


def _repeated(source: Source, key: Key) -> dict[bytes | None, int]:
    """Count the rows of each item that has more than one."""
    once: set[bytes] = set()
    several: dict[bytes | None, int] = {}
    for numbered in numbered_rows(source):
        if isinstance(numbered.row, str):
            continue
        name = _key(key, numbered.row)
        if name is None:
            continue
        if name in several:
            several[name] += 1
        elif name in once:
            several[name] = 2
        else:
            once.add(name)
    if several:
        refuse_large(source)
    return several


def _gather(
    held: dict[bytes | None, _Item], name: bytes | None, value: Row, numbered: Numbered, source: Source
) -> None:
    """Add a row's labels to those of its item."""
    item = held.setdefault(
        name, _Item(numbered.number, numbered.unit, {k: v for k, v in value.items() if k not in _SAID})
    )
    place = _places(item, value)
    before = len(item.known), len(item.metadata)
    for kind in _SAID:
        for said in value.get(kind, ()):
            one = _moved(said, place)
            form = kind + digest_of({k: v for k, v in one.items() if k != "sample"})
            if form in item.known:
                continue
            item.known.add(form)
            if kind == "verdicts":
                asked = digest_of([one.get(k) for k in ("judge", "pair", "order")])
                one |= {"sample": item.samples[asked]}
                item.samples[asked] += 1
            item.value.setdefault(kind, []).append(one)
    metadata = value.get("metadata", {})
    item.metadata.setdefault(digest_of(metadata), metadata)
    if before == (len(item.known), len(item.metadata)):
        source.notes[REPEATED] += 1


def _whole(item: _Item | None) -> Row | None:
    return None if item is None else item.value | {"metadata": _metadata(list(item.metadata.values()))}


def _places(item: _Item, value: Row) -> list[int]:
    """Find the places of a row's answers in its item. Raises InvalidRecord if it is about something else."""
    where = f"is about the same item as {item.unit} {item.number}"
    if value["prompt"] != item.value["prompt"]:
        raise InvalidRecord(f"{where} (by its id), with another prompt")
    texts = [answer["text"] for answer in item.value["completions"]]
    others = [answer["text"] for answer in value["completions"]]
    if others == texts:
        return list(range(len(texts)))
    if len(set(texts)) < len(texts) or sorted(others) != sorted(texts):
        raise InvalidRecord(f"{where} (by its id), with other answers")
    return [texts.index(text) for text in others]


def _moved(said: Row, place: list[int]) -> Row:
    """Rewrite the labels for the item's own answers, each pair's lower index first."""
    moved = dict(said)
    if "pair" in said:
        first, second = (place[i] for i in said["pair"])
        moved["pair"] = [min(first, second), max(first, second)]
        if first > second:
            if type(said.get("choice")) is int:
                moved["choice"] = 1 - said["choice"]
            if said.get("order"):
                moved["order"] = list(reversed(said["order"]))
            if said.get("p_first") is not None:
                moved["p_first"] = 1 - said["p_first"]
    if "groups" in said:
        moved["groups"] = [[place[i] for i in group] for group in said["groups"]]
    if "completion" in said:
        moved["completion"] = place[said["completion"]]
    return moved


def _metadata(rows: list[Row]) -> Row:
    """Keep values that all rows share once, and differing ones as a list."""
    out: Row = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        out[name] = values[0] if all(value == values[0] for value in values) else values
    return out
