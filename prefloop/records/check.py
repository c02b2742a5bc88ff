"""One record in JSON's types, checked key by key and made canonical. Every refusal names its key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, cast, get_args

from prefloop.criteria import BadCriterion, name_checked
from prefloop.records.check_ratings import gold_rating_read, rating_read, why_known
from prefloop.records.fields import (
    each_of,
    joined,
    moment_of,
    name_of,
    number_of,
    object_of,
    rows_of,
    text_of,
    time_text,
)
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
from prefloop.records.people import marks_of, parents_checked, reasons_of, strength_of
from prefloop.records.write import sorted_metadata
from prefloop.rubrics import IN_METADATA, BadRubric, rubric_of_prompt
from prefloop.types import AS_STORED, SWAPPED, Split

_Row = TypeVar("_Row")
_CHOICES, _VOTE_CHOICES, _STATES, _SPLITS = (get_args(kind) for kind in (Choice, VoteChoice, RecordState, Split))


def parse_record(value: object) -> Record:
    """Check a record in JSON's types and make it canonical. Raises InvalidRecord naming the key at fault."""
    # the whole form
    keys = (
        "id split prompt metadata completions gold gold_ratings votes rankings ratings verdicts overrides scores flags"
    )
    top = object_of(value, "the line", keys)
    record_id = text_of(top, "id", "", required=True)
    if not record_id:
        raise InvalidRecord("id is empty")
    if len(record_id) > MAX_NAME:
        raise InvalidRecord(f"id is longer than {MAX_NAME} characters")
    split = top.get("split")
    if split is not None and split not in _SPLITS:
        raise InvalidRecord("split is neither 'train' nor 'eval'")
    prompt, metadata = _prompt(top), _metadata(top, "")
    try:
        rubric_of_prompt(metadata)
    except BadRubric as error:
        raise InvalidRecord(f"metadata.{IN_METADATA}: {error}") from None
    completions = tuple([_completion(c, at) for c, at in rows_of(top, "completions", required=True)])
    parents_checked(completions)
    n = len(completions)
    if n > MAX_COMPLETIONS:
        raise InvalidRecord(f"completions has more than {MAX_COMPLETIONS} entries")
    record = Record(
        id=record_id,
        prompt=prompt,
        completions=completions,
        split=cast("Split | None", split),
        metadata=metadata,
        gold=each_of(top, "gold", _gold, n),
        votes=each_of(top, "votes", partial(_vote, completions=completions), n),
        rankings=each_of(top, "rankings", _ranking, n),
        ratings=each_of(top, "ratings", rating_read, n),
        verdicts=each_of(top, "verdicts", _verdict, n),
        overrides=each_of(top, "overrides", _override, n),
        scores=each_of(top, "scores", _score, n),
        flags=each_of(top, "flags", _flag, n),
        gold_ratings=each_of(top, "gold_ratings", gold_rating_read, n),
    )
    _refuse_repeats(record)
    return record


def _refuse_repeats(record: Record) -> None:
    gold: dict[PairIndex, int] = {}
    for i, g in enumerate(record.gold):
        if gold.setdefault(g.pair, i) != i:
            raise InvalidRecord(f"gold[{i}] is on the same pair as gold[{gold[g.pair]}]")
    known: dict[int, int] = {}
    for i, r in enumerate(record.gold_ratings):
        if known.setdefault(r.completion, i) != i:
            raise InvalidRecord(f"gold_ratings[{i}] is on the same answer as gold_ratings[{known[r.completion]}]")
    verdicts: dict[tuple[str, PairIndex, PairIndex, int], int] = {}
    for i, v in enumerate(record.verdicts):
        first = verdicts.setdefault((v.judge, v.pair, v.order, v.sample), i)
        if first != i:
            raise InvalidRecord(f"verdicts[{i}] has the judge, pair, order and sample of verdicts[{first}]")


def _metadata(row: dict[str, Any], at: str) -> Metadata:
    value = row.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRecord(f"{joined(at, 'metadata')} is not an object")
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:  # not recursive: the depth is what an adversary chooses
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise InvalidRecord(f"{joined(at, 'metadata')} is nested deeper than {MAX_DEPTH}")
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
    for row, at in rows_of(top, "prompt"):
        message = object_of(row, at, "role content")
        role, content = text_of(message, "role", at, required=True), text_of(message, "content", at, required=True)
        if not role:
            raise InvalidRecord(f"{at}.role is empty")
        messages.append({"role": role, "content": content})
    return tuple(messages)


def _completion(value: object, at: str) -> RecordCompletion:
    row = object_of(value, at, "text model metadata parent editor")
    parent, editor = row.get("parent"), text_of(row, "editor", at)
    if parent is not None and (type(parent) is not int or parent < 0):
        raise InvalidRecord(f"{at}.parent is not the index of a completion")
    if (parent is None) != (not editor):
        raise InvalidRecord(f"{at} has a parent without an editor, or an editor without a parent")
    if len(editor) > MAX_NAME:
        raise InvalidRecord(f"{at}.editor has more than {MAX_NAME} characters")
    text, model = text_of(row, "text", at, required=True), text_of(row, "model", at)
    return RecordCompletion(text, model, _metadata(row, at), parent, editor)


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


def _state(row: dict[str, Any], at: str) -> RecordState:
    value = row.get("state")
    if value is None:
        return "ok"
    if value not in _STATES:
        raise InvalidRecord(f"{at}.state is not one of {', '.join(_STATES)}")
    return cast(RecordState, value)


def _gold(value: object, at: str, n: int) -> Gold:
    row = object_of(value, at, "pair choice note practice")
    pair, turned = _pair(row, at, n)
    return Gold(pair, _choice(row, at, turned, _CHOICES), **why_known(row, at))


_OF_VOTES = (
    "rater pair criterion choice strength order at seconds guideline reason reasons marks adjudication edit by_chance"
)


def _vote(value: object, at: str, n: int, completions: Sequence[RecordCompletion]) -> RecordVote:
    row = object_of(value, at, _OF_VOTES)
    pair, turned = _pair(row, at, n)
    choice = _choice(row, at, turned, _VOTE_CHOICES)
    return RecordVote(
        rater=name_of(row, "rater", at),
        pair=pair,
        choice=choice,
        strength=strength_of(row.get("strength"), at, choice),
        order=_order(row, at, turned),
        at=time_text(row, at),
        seconds=number_of(row, "seconds", at, low=0.0, high=1e9),
        guideline=text_of(row, "guideline", at),
        reason=text_of(row, "reason", at),
        reasons=reasons_of(row.get("reasons"), at),
        marks=marks_of(row, at, pair, completions),
        adjudication=_yes(row, "adjudication", at),
        edit=_edit(row, at, choice),
        by_chance=None if row.get("by_chance") is None else _yes(row, "by_chance", at),
        criterion=_criterion(row, at),
    )


def _criterion(row: dict[str, Any], at: str) -> str:
    try:
        return name_checked(text_of(row, "criterion", at))
    except BadCriterion as error:
        raise InvalidRecord(f"{at}.criterion: {error}") from None


def _edit(row: dict[str, Any], at: str, choice: VoteChoice) -> bool:
    edit = _yes(row, "edit", at)
    if edit and (choice != 1 or not _yes(row, "adjudication", at)):
        raise InvalidRecord(f"{at} is said by an edit, so its choice is 1 and adjudication is true")
    return edit


def _yes(row: dict[str, Any], key: str, at: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRecord(f"{at}.{key} is neither true nor false")
    return value


def _ranking(value: object, at: str, n: int) -> RecordRanking:
    row = object_of(value, at, "rater judge groups shown at seconds guideline reason reasons")
    if (row.get("rater") is None) == (row.get("judge") is None):
        raise InvalidRecord(f"{at} needs one of rater and judge")
    who = "rater" if row.get("rater") is not None else "judge"
    name = name_of(row, who, at)
    groups = row.get("groups")
    if not isinstance(groups, list) or not groups or not all(isinstance(g, list) and g for g in groups):
        raise InvalidRecord(f"{at}.groups is not a list of non-empty lists")
    flat = [i for g in groups for i in g]
    if any(type(i) is not int or not 0 <= i < n for i in flat):
        raise InvalidRecord(f"{at}.groups names something that is not one of the {n} completions")
    if len(set(flat)) != len(flat):
        raise InvalidRecord(f"{at}.groups names a completion twice")
    shown = [] if row.get("shown") is None else row["shown"]
    if not isinstance(shown, list) or (shown and (sorted(map(repr, shown)) != sorted(map(repr, flat)))):
        raise InvalidRecord(f"{at}.shown does not name each completion of groups once")
    return RecordRanking(
        tuple(tuple(sorted(g)) for g in groups),
        rater=name if who == "rater" else "",
        judge=name if who == "judge" else "",
        shown=tuple(shown),
        at=moment_of(row, at, "at"),
        seconds=number_of(row, "seconds", at, low=0.0, high=1e9),
        guideline=text_of(row, "guideline", at),
        reason=text_of(row, "reason", at),
        reasons=reasons_of(row.get("reasons"), at),
    )


def _verdict(value: object, at: str, n: int) -> RecordVerdict:
    row = object_of(value, at, "judge criterion pair order sample state choice p_first raw")
    pair, turned = _pair(row, at, n)
    sample = row.get("sample", 0)
    if type(sample) is not int or sample < 0:
        raise InvalidRecord(f"{at}.sample is not a whole number from 0")
    state = _state(row, at)
    choice = _choice(row, at, turned, (*_CHOICES, None))
    p_first = number_of(row, "p_first", at, low=0.0, high=1.0)
    if state == "ok" and choice is None and p_first is None:
        raise InvalidRecord(f"{at} is ok but has neither choice nor p_first")
    if state != "ok" and choice is not None:
        raise InvalidRecord(f"{at} is {state} but has a choice")
    return RecordVerdict(
        judge=name_of(row, "judge", at),
        pair=pair,
        order=_order(row, at, turned) or (SWAPPED if turned else AS_STORED),
        sample=sample,
        state=state,
        choice=choice,
        p_first=1.0 - p_first if turned and p_first is not None else p_first,
        raw=text_of(row, "raw", at),
        criterion=_criterion(row, at),
    )


def _flag(value: object, at: str, n: int) -> RecordFlag:
    row = object_of(value, at, "rater pair completion reason note at resolved resolved_by")
    if (row.get("pair") is None) == (row.get("completion") is None):
        raise InvalidRecord(f"{at} needs one of pair and completion")
    completion = row.get("completion")
    if completion is not None and (type(completion) is not int or not 0 <= completion < n):
        raise InvalidRecord(f"{at}.completion names something that is not one of the {n} completions")
    pair = _pair(row, at, n)[0] if completion is None else None
    reason = text_of(row, "reason", at, required=True)
    if reason not in FLAG_REASONS:
        raise InvalidRecord(f"{at}.reason is not one of {', '.join(map(repr, FLAG_REASONS))}")
    resolved, resolved_by = moment_of(row, at, "resolved"), text_of(row, "resolved_by", at)
    if resolved_by and not resolved:
        raise InvalidRecord(f"{at} has resolved_by, but no time in resolved")
    note, when = text_of(row, "note", at), moment_of(row, at, "at")
    return RecordFlag(name_of(row, "rater", at), pair, reason, note, when, resolved, resolved_by, completion)


def _override(value: object, at: str, n: int) -> RecordOverride:
    row = object_of(value, at, "rater pair judge criterion choice reason at")
    pair, turned = _pair(row, at, n)
    if row.get("criterion") and not row.get("judge"):
        raise InvalidRecord(f"{at} has a criterion, which is that of its judge, but no judge")
    return RecordOverride(
        rater=name_of(row, "rater", at),
        pair=pair,
        choice=_choice(row, at, turned, _CHOICES),
        judge=text_of(row, "judge", at),
        reason=text_of(row, "reason", at),
        at=time_text(row, at),
        criterion=_criterion(row, at),
    )


def _score(value: object, at: str, n: int) -> RecordScore:
    row = object_of(value, at, "judge criterion completion value state flag")
    completion = row.get("completion")
    if type(completion) is not int or not 0 <= completion < n:
        raise InvalidRecord(f"{at}.completion is not one of the {n} completions")
    state, score = _state(row, at), number_of(row, "value", at, low=-1e300, high=1e300)
    if state == "ok" and score is None:
        raise InvalidRecord(f"{at}.value is missing")
    flag = row.get("flag", False)
    if not isinstance(flag, bool):
        raise InvalidRecord(f"{at}.flag is neither true nor false")
    if flag and (state != "ok" or score not in (0, 1)):
        raise InvalidRecord(f"{at}.value is neither 1 nor 0, as a flag's must be")
    return RecordScore(name_of(row, "judge", at), completion, score, state, flag, _criterion(row, at))
