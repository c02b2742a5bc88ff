"""Battles of two models: Chatbot Arena's human preferences in their published forms, and MT-Bench's judgements.

Arena: conversations with `winner` (chatbot_arena_conversations, 100k, 140k), or texts with `winner_model_a`,
`winner_model_b`, `winner_tie` (55k, a CSV whose texts are JSON lists of turns). Every row is an item of its own and one
person's vote. MT-Bench: several judges on one pair of answers, so rows with the same question, turn and models become
one record; experts and authors are voters, `gpt4…` is a judge. If only the last turns differ they are the answers and
the rest is the prompt; otherwise a second turn keeps each side's own first answer in its text. Source: the columns of
the lmsys/ and lmarena-ai/ data sets (Zheng et al. 2023, arXiv:2306.05685; Chiang et al. 2024, arXiv:2403.04132).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prefloop.formats.items import groups_to_records, rows_to_records
from prefloop.formats.messages import Messages, messages_of
from prefloop.formats.rows import Row, rest, text_in
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record
from prefloop.records.values import loads

RATER = "arena"
_CHOICES: dict[str, int | str] = {
    "model_a": 0,
    "model_b": 1,
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
}


def matches_battles(row: Row) -> bool:
    return "winner_model_a" in row or ("winner" in row and "conversation_a" in row and not matches_mt_bench(row))


def matches_mt_bench(row: Row) -> bool:
    arena = ("anony", "tstamp", "evaluation_session_id", "openai_moderation")
    named = all(key in row for key in ("question_id", "judge", "turn", "winner", "conversation_a"))
    return named and not any(key in row for key in arena)


def read_battles(source: Source) -> Iterator[Record]:
    return rows_to_records(source, _battle, prefix="arena")


def read_mt_bench(source: Source) -> Iterator[Record]:
    return groups_to_records(source, _item, _judgements, prefix="mt-bench")


def _battle(row: Row) -> Row:
    if "winner_model_a" in row:
        first, second = (_turns_of_texts(row, side) for side in "ab")
        choice = _one_hot(row)
        used: tuple[str, ...] = ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")
    else:
        first, second = (_turns(row.get(f"conversation_{side}"), f"conversation_{side}") for side in "ab")
        choice = _choice(row)
        used = ("conversation_a", "conversation_b", "winner", "full_conversation")
    rater = row.get("judge")
    return _record(row, first, second) | {
        "votes": [{"rater": rater if isinstance(rater, str) and rater else RATER, "pair": [0, 1], "choice": choice}],
        "metadata": rest(row, *used, "model_a", "model_b", "judge"),
    }


def _item(row: Row) -> list[Any]:
    return [row.get("question_id"), row.get("turn"), sorted([str(row.get("model_a")), str(row.get("model_b"))])]


def _judgements(rows: list[Row]) -> Row:
    top = rows[0]
    first, second = (_turns(top.get(f"conversation_{side}"), f"conversation_{side}") for side in "ab")
    votes, verdicts = [], []
    sampled: Counter[tuple[str, bool]] = Counter()
    for row in rows:
        swapped = row.get("model_a") != top.get("model_a")
        said = _choice(row)
        choice = 1 - said if swapped and isinstance(said, int) else said
        name = row.get("judge")
        judge = "/".join(map(str, name)) if isinstance(name, list) else str(name)
        order = [1, 0] if swapped else [0, 1]
        if judge.startswith(("author", "expert")):
            votes.append({"rater": judge, "pair": [0, 1], "choice": choice, "order": order})
        else:
            sample = sampled[judge, swapped]
            sampled[judge, swapped] += 1
            verdicts.append(
                {"judge": judge, "pair": [0, 1], "order": order, "sample": sample, "choice": choice, "state": "ok"}
            )
    kept = {key: top[key] for key in ("question_id", "turn", "category") if top.get(key) is not None}
    return _record(top, first, second) | {"votes": votes, "verdicts": verdicts, "metadata": kept}


def _record(row: Row, first: Messages, second: Messages) -> Row:
    shared = 0
    while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
        shared += 1
    while shared and first[shared]["role"] != "assistant":  # an answer starts with the assistant
        shared -= 1
    if shared == 0:
        raise InvalidRecord("the two conversations have no question in common")
    return {
        "prompt": first[0]["content"] if shared == 1 and first[0]["role"] == "user" else first[:shared],
        "completions": [
            {"text": _answer(turns[shared:]), "model": text_in(row, f"model_{side}")}
            for side, turns in (("a", first), ("b", second))
        ],
    }


def _answer(turns: Messages) -> str:
    later = [f"\n\n{turn['role'].capitalize()}: {turn['content']}" for turn in turns[1:]]
    return turns[0]["content"] + "".join(later)


def _turns(value: object, at: str) -> Messages:
    turns = messages_of(value, at)
    if not turns:
        raise InvalidRecord(f"{at} is empty")
    return turns


def _turns_of_texts(row: Row, side: str) -> Messages:
    """Prompts and answers as two lists, each a JSON text in the CSV; an answer that is null there is empty."""
    prompts, answers = _texts(row, "prompt"), _texts(row, f"response_{side}")
    if len(prompts) != len(answers):
        raise InvalidRecord(f"prompt has {len(prompts)} turns and response_{side} has {len(answers)}")
    both = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        for asked, said in zip(prompts, answers, strict=True)
    ]
    return [turn for one in both for turn in one]


def _texts(row: Row, key: str) -> list[str]:
    value: Any = row.get(key)
    found: Any = _json(value, key) if isinstance(value, str) and value.lstrip().startswith("[") else value
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not found or not all(one is None or isinstance(one, str) for one in found):
        raise InvalidRecord(f"{key} is not a list of texts")
    return [str(one or "") for one in found]


def _json(text: str, at: str) -> Any:
    try:
        return loads(text.encode())
    except InvalidRecord as error:
        raise InvalidRecord(f"{at} {error}") from None


def _choice(row: Row) -> int | str:
    name = str(row.get("winner", "")).strip().lower()
    if name not in _CHOICES:
        raise InvalidRecord(f"winner is not one of {', '.join(_CHOICES)}")
    return _CHOICES[name]


def _one_hot(row: Row) -> int | str:
    columns: tuple[tuple[str, int | str], ...] = (("winner_model_a", 0), ("winner_model_b", 1), ("winner_tie", "tie"))
    marked: list[int | str] = [
        choice for key, choice in columns if str(row.get(key)).strip().lower() in ("1", "1.0", "true")
    ]
    if len(marked) != 1:
        raise InvalidRecord("not exactly one of winner_model_a, winner_model_b and winner_tie is 1")
    return marked[0]
