"""One record in JSON's types, checked key by key and made canonical. Every refusal names its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar, cast, get_args

from prefloop.records.form import (
    FLAG_REASONS,
    MAX_COMPLETIONS,
    MAX_DEPTH,
    MAX_NAME,
    Choice,
    Gold,
    InvalidRecord,
    Metadata,
    PairIndex,
    Record,
    RecordCompletion,
    RecordFlag,
    RecordOverride,
    RecordRanking,
    RecordScore,
    RecordState,
    RecordVerdict,
    RecordVote,
    VoteChoice,
)
from prefloop.records.times import time_of, written_time
from prefloop.records.write import sorted_metadata
from prefloop.types import AS_STORED, STRENGTHS, SWAPPED, Split, Strength

_Row = TypeVar("_Row")
_CHOICES, _VOTE_CHOICES, _STATES, _SPLITS = (get_args(kind) for kind in (Choice, VoteChoice, RecordState, Split))


def parse_record(value: object) -> Record:
    """Check a record in JSON's types and make it canonical. Raises InvalidRecord naming the key at fault."""
    keys = "id split prompt metadata completions gold votes rankings verdicts overrides scores flags"  # the whole form
    top = _object(value, "the line", keys)
    record_id = _text(top, "id", "", required=True)
    if not record_id:
        raise InvalidRecord("id is empty")
    if len(record_id) > MAX_NAME:
        raise InvalidRecord(f"id is longer than {MAX_NAME} characters")
    split = top.get("split")
    if split is not None and split not in _SPLITS:
        raise InvalidRecord("split is neither 'train' nor 'eval'")
    prompt = _prompt(top)
    completions = tuple([_completion(c, at) for c, at in _rows(top, "completions", required=True)])
    n = len(completions)
    if n > MAX_COMPLETIONS:
        raise InvalidRecord(f"completions has more than {MAX_COMPLETIONS} entries")
    record = Record(
        id=record_id,
        prompt=prompt,
        completions=completions,
        split=cast("Split | None", split),
        metadata=_metadata(top, ""),
        gold=_each(top, "gold", _gold, n),
        votes=_each(top, "votes", _vote, n),
        rankings=_each(top, "rankings", _ranking, n),
        verdicts=_each(top, "verdicts", _verdict, n),
        overrides=_each(top, "overrides", _override, n),
        scores=_each(top, "scores", _score, n),
        flags=_each(top, "flags", _flag, n),
    )
    _refuse_repeats(record)
    return record


def _refuse_repeats(record: Record) -> None:
    gold: dict[PairIndex, int] = {}
    for i, g in enumerate(record.gold):
        if gold.setdefault(g.pair, i) != i:
            raise InvalidRecord(f"gold[{i}] is on the same pair as gold[{gold[g.pair]}]")
    verdicts: dict[tuple[str, PairIndex, PairIndex, int], int] = {}
    for i, v in enumerate(record.verdicts):
        first = verdicts.setdefault((v.judge, v.pair, v.order, v.sample), i)
        if first != i:
            raise InvalidRecord(f"verdicts[{i}] has the judge, pair, order and sample of verdicts[{first}]")


def _object(value: object, at: str, keys: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRecord(f"{at} is not an object")
    if value.keys() <= _known(keys):
        return value
    unknown = next(key for key in value if key not in _known(keys))
    where = f"{at} has" if at != "the line" else "has"
    raise InvalidRecord(f"{where} an unknown key {unknown[:80]!r} (known: {', '.join(keys.split())})")


@cache
def _known(keys: str) -> frozenset[str]:
    return frozenset(keys.split())


def _rows(top: dict[str, Any], key: str, *, required: bool = False) -> list[tuple[object, str]]:
    rows = top.get(key)
    if rows is None:
        if required:
            raise InvalidRecord(f"{key} is missing")
        return []
    if not isinstance(rows, list):
        raise InvalidRecord(f"{key} is not a list")
    return [(row, _place(key, i)) for i, row in enumerate(rows)]


@lru_cache(10_000)
def _place(key: str, i: int) -> str:
    return f"{key}[{i}]"


def _each(top: dict[str, Any], key: str, read: Callable[[object, str, int], _Row], n: int) -> tuple[_Row, ...]:
    """Read every row under a key; most keys of most records are absent, and cost nothing."""
    if top.get(key) is None:
        return ()
    return tuple([read(row, at, n) for row, at in _rows(top, key)])


def _text(row: dict[str, Any], key: str, at: str, *, required: bool = False) -> str:
    value = row.get(key)
    if type(value) is str:
        return value
    if value is None and not (required and key in row):
        if required:
            raise InvalidRecord(f"{_join(at, key)} is missing")
        return ""
    raise InvalidRecord(f"{_join(at, key)} is not a string")


def _name(row: dict[str, Any], key: str, at: str) -> str:
    name = _text(row, key, at, required=True)
    if not name.strip():
        raise InvalidRecord(f"{_join(at, key)} is empty")
    if len(name) > MAX_NAME:
        raise InvalidRecord(f"{_join(at, key)} is longer than {MAX_NAME} characters")
    return name


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _metadata(row: dict[str, Any], at: str) -> Metadata:
    value = row.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRecord(f"{_join(at, 'metadata')} is not an object")
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:  # not recursive: the depth is what an adversary chooses
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise InvalidRecord(f"{_join(at, 'metadata')} is nested deeper than {MAX_DEPTH}")
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, depth + 1) for child in children if isinstance(child, dict | list))
    return sorted_metadata(value)


def _prompt(top: dict[str, Any]) -> str | tuple[dict[str, str], ...]:
    prompt = top.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if prompt is None:
        raise InvalidRecord("prompt is missing" if "prompt" not in top else "prompt is neither text nor a list")
    if not isinstance(prompt, list):
        raise InvalidRecord("prompt is neither text nor a list of messages")
    if not prompt:
        raise InvalidRecord("prompt is an empty list of messages")
    messages = []
    for row, at in _rows(top, "prompt"):
        message = _object(row, at, "role content")
        role, content = _text(message, "role", at, required=True), _text(message, "content", at, required=True)
        if not role:
            raise InvalidRecord(f"{at}.role is empty")
        messages.append({"role": role, "content": content})
    return tuple(messages)


def _completion(value: object, at: str) -> RecordCompletion:
    row = _object(value, at, "text model metadata")
    return RecordCompletion(_text(row, "text", at, required=True), _text(row, "model", at), _metadata(row, at))


def _two_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and type(value[1]) is int


def _pair(row: dict[str, Any], at: str, n: int) -> tuple[PairIndex, bool]:
    """Read the pair, lower index first, and whether it had to be reversed."""
    pair = row.get("pair")
    if pair is None:
        if n == 2:
            return (0, 1), False
        raise InvalidRecord(f"{at}.pair is missing, and there are {n} completions")
    if not _two_numbers(pair):
        raise InvalidRecord(f"{at}.pair is not two completion indices")
    i, j = pair
    if not (0 <= i < n and 0 <= j < n):
        raise InvalidRecord(f"{at}.pair names completion {j if 0 <= i < n else i}, and there are {n}")
    if i == j:
        raise InvalidRecord(f"{at}.pair names completion {i} twice")
    return ((i, j), False) if i < j else ((j, i), True)


def _choice(row: dict[str, Any], at: str, turned: bool, allowed: tuple[object, ...]) -> Any:
    value = row.get("choice")
    if value is None and None not in allowed:
        raise InvalidRecord(f"{at}.choice is missing" if "choice" not in row else f"{at}.choice is null")
    if type(value) not in (int, str, type(None)) or value not in allowed:
        names = ", ".join("null" if a is None else repr(a) for a in allowed)
        raise InvalidRecord(f"{at}.choice is not one of {names}")
    return 1 - value if turned and isinstance(value, int) else value


def _order(row: dict[str, Any], at: str, turned: bool) -> PairIndex | None:
    value = row.get("order")
    if value is None:
        return None
    if not _two_numbers(value) or value not in ([0, 1], [1, 0]):
        raise InvalidRecord(f"{at}.order is neither [0, 1] nor [1, 0]")
    return SWAPPED if (value[0] == 1) != turned else AS_STORED


def _number(row: dict[str, Any], key: str, at: str, *, low: float, high: float) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InvalidRecord(f"{at}.{key} is not a number")
    if not low <= value <= high:
        raise InvalidRecord(f"{at}.{key} is not in [{low:g}, {high:g}]")
    return float(value)


def _at(row: dict[str, Any], at: str, key: str = "at") -> str:
    value = _text(row, key, at)
    if value:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRecord(f"{at}.{key} is not an ISO 8601 time") from None
    return value


def _state(row: dict[str, Any], at: str) -> RecordState:
    value = row.get("state")
    if value is None:
        return "ok"
    if value not in _STATES:
        raise InvalidRecord(f"{at}.state is not one of {', '.join(_STATES)}")
    return cast(RecordState, value)


def _gold(value: object, at: str, n: int) -> Gold:
    row = _object(value, at, "pair choice")
    pair, turned = _pair(row, at, n)
    return Gold(pair, _choice(row, at, turned, _CHOICES))


def _vote(value: object, at: str, n: int) -> RecordVote:
    row = _object(value, at, "rater pair choice strength order at seconds guideline reason adjudication")
    pair, turned = _pair(row, at, n)
    choice = _choice(row, at, turned, _VOTE_CHOICES)
    return RecordVote(
        rater=_name(row, "rater", at),
        pair=pair,
        choice=choice,
        strength=_strength(row, at, choice),
        order=_order(row, at, turned),
        at=_at(row, at),
        seconds=_number(row, "seconds", at, low=0.0, high=1e9),
        guideline=_text(row, "guideline", at),
        reason=_text(row, "reason", at),
        adjudication=_yes(row, "adjudication", at),
    )


def _strength(row: dict[str, Any], at: str, choice: VoteChoice) -> Strength | None:
    value = row.get("strength")
    if value is None:
        return None
    if value not in STRENGTHS:
        raise InvalidRecord(f"{at}.strength is not one of {', '.join(map(repr, STRENGTHS))}")
    if choice not in (0, 1):
        raise InvalidRecord(f"{at} has a strength, but its choice names no better answer")
    return cast(Strength, value)


def _yes(row: dict[str, Any], key: str, at: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRecord(f"{at}.{key} is neither true nor false")
    return value


def _ranking(value: object, at: str, n: int) -> RecordRanking:
    row = _object(value, at, "rater judge groups")
    if (row.get("rater") is None) == (row.get("judge") is None):
        raise InvalidRecord(f"{at} needs one of rater and judge")
    who = "rater" if row.get("rater") is not None else "judge"
    name = _name(row, who, at)
    groups = row.get("groups")
    if not isinstance(groups, list) or not groups or not all(isinstance(g, list) and g for g in groups):
        raise InvalidRecord(f"{at}.groups is not a list of non-empty lists")
    flat = [i for g in groups for i in g]
    if any(type(i) is not int or not 0 <= i < n for i in flat):
        raise InvalidRecord(f"{at}.groups names something that is not one of the {n} completions")
    if len(set(flat)) != len(flat):
        raise InvalidRecord(f"{at}.groups names a completion twice")
    ordered = tuple(tuple(sorted(g)) for g in groups)
    return RecordRanking(ordered, rater=name if who == "rater" else "", judge=name if who == "judge" else "")


def _verdict(value: object, at: str, n: int) -> RecordVerdict:
    row = _object(value, at, "judge pair order sample state choice p_first raw")
    pair, turned = _pair(row, at, n)
    sample = row.get("sample", 0)
    if type(sample) is not int or sample < 0:
        raise InvalidRecord(f"{at}.sample is not a whole number from 0")
    state = _state(row, at)
    choice = _choice(row, at, turned, (*_CHOICES, None))
    p_first = _number(row, "p_first", at, low=0.0, high=1.0)
    if state == "ok" and choice is None and p_first is None:
        raise InvalidRecord(f"{at} is ok but has neither choice nor p_first")
    if state != "ok" and choice is not None:
        raise InvalidRecord(f"{at} is {state} but has a choice")
    return RecordVerdict(
        judge=_name(row, "judge", at),
        pair=pair,
        order=_order(row, at, turned) or (SWAPPED if turned else AS_STORED),
        sample=sample,
        state=state,
        choice=choice,
        p_first=1.0 - p_first if turned and p_first is not None else p_first,
        raw=_text(row, "raw", at),
    )


def _flag(value: object, at: str, n: int) -> RecordFlag:
    row = _object(value, at, "rater pair reason note at resolved resolved_by")
    pair, _ = _pair(row, at, n)
    reason = _text(row, "reason", at, required=True)
    if reason not in FLAG_REASONS:
        raise InvalidRecord(f"{at}.reason is not one of {', '.join(map(repr, FLAG_REASONS))}")
    resolved, resolved_by = _moment(row, at, "resolved"), _text(row, "resolved_by", at)
    if resolved_by and not resolved:
        raise InvalidRecord(f"{at} has resolved_by, but no time in resolved")
    note, when = _text(row, "note", at), _moment(row, at, "at")
    return RecordFlag(_name(row, "rater", at), pair, reason, note, when, resolved, resolved_by)


def _moment(row: dict[str, Any], at: str, key: str) -> str:
    """A time in the one spelling that the project writes."""
    value = _at(row, at, key)
    return written_time(time_of(value)) if value else ""


def _override(value: object, at: str, n: int) -> RecordOverride:
    row = _object(value, at, "rater pair judge choice reason at")
    pair, turned = _pair(row, at, n)
    return RecordOverride(
        rater=_name(row, "rater", at),
        pair=pair,
        choice=_choice(row, at, turned, _CHOICES),
        judge=_text(row, "judge", at),
        reason=_text(row, "reason", at),
        at=_at(row, at),
    )


def _score(value: object, at: str, n: int) -> RecordScore:
    row = _object(value, at, "judge completion value state flag")
    completion = row.get("completion")
    if type(completion) is not int or not 0 <= completion < n:
        raise InvalidRecord(f"{at}.completion is not one of the {n} completions")
    state, score = _state(row, at), _number(row, "value", at, low=-1e300, high=1e300)
    if state == "ok" and score is None:
        raise InvalidRecord(f"{at}.value is missing")
    flag = row.get("flag", False)
    if not isinstance(flag, bool):
        raise InvalidRecord(f"{at}.flag is neither true nor false")
    if flag and (state != "ok" or score not in (0, 1)):
        raise InvalidRecord(f"{at}.value is neither 1 nor 0, as a flag's must be")
    return RecordScore(_name(row, "judge", at), completion, score, state, flag)
