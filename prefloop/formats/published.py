"""Writers of preferences in the forms in which others publish and read them.

OpenRLHF, RLHFlow, Chatbot Arena, MT-Bench and AlpacaEval. The first side of a row is `a`, or 1.

1. OpenRLHF and RLHFlow read whole conversations; a prompt that is a text is its first turn. RLHFlow's scores are the
   probabilities that an answer is the better one: 1 and 0 where people agreed.
2. Arena and MT-Bench rows name two models; where an answer's model is not known it is called "unknown". What people
   said is by "expert_people", which MT-Bench's readers take for people; what a judge said has the judge's name.
3. MT-Bench and AlpacaEval have no word for two bad answers: such rows are left out.
4. AlpacaEval's instruction is a text: a conversation of several turns is written out with the names of its speakers.

Source: the columns of OpenRLHF/preference_dataset_mixture2_and_safe_pku, RLHFlow/UltraFeedback-preference-standard,
lmsys/chatbot_arena_conversations, lmsys/mt_bench_human_judgments, and of tatsu-lab/alpaca_eval's annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from prefloop.formats.rowform import PreferenceRow

PEOPLE = "expert_people"
UNKNOWN = "unknown"
_WINNERS = {"first": "model_a", "second": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}


def openrlhf(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """chosen and rejected as lists of messages, each beginning with the prompt."""
    for row in rows:
        if row.decided:
            chosen, rejected = (_conversation(row, text) for text in row.decided)
            yield _line(chosen=chosen, rejected=rejected)


def rlhflow(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """chosen and rejected as lists of messages, each with a score."""
    for row in rows:
        if row.decided:
            chosen, rejected = (_conversation(row, text) for text in row.decided)
            p_first = row.p_first if row.p_first is not None else 1.0 if row.label == "first" else 0.0
            p = p_first if row.label == "first" else 1.0 - p_first
            yield _line(chosen=chosen, chosen_score=p, rejected=rejected, rejected_score=1.0 - p)


def arena(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """A battle: two models, their conversations, and the winner; ties too."""
    for row in rows:
        if row.label is not None:
            yield _line(**_battle(row), anony=True)


def mt_bench(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """A judgement: a question's turn, two models, their conversations, and the winner."""
    for row in rows:
        if row.label is not None and row.label != "both_bad":
            yield _line(**_battle(row))


def alpaca_eval(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """An annotation: an instruction, two outputs, and a preference from 1 (the first) to 2 (the second)."""
    for row in rows:
        if row.label is None or row.label == "both_bad":
            continue
        yield _line(
            instruction=_instruction(row),
            output_1=row.first,
            generator_1=row.first_model or UNKNOWN,
            output_2=row.second,
            generator_2=row.second_model or UNKNOWN,
            annotator=_who(row),
            preference=_preference(row),
        )


def _battle(row: PreferenceRow) -> dict[str, Any]:
    return {
        "question_id": row.id,
        "model_a": row.first_model or UNKNOWN,
        "model_b": row.second_model or UNKNOWN,
        "winner": _WINNERS[str(row.label)],
        "judge": _who(row),
        "conversation_a": _conversation(row, row.first),
        "conversation_b": _conversation(row, row.second),
        "turn": sum(turn["role"] == "user" for turn in _asked(row)),
    }


def _who(row: PreferenceRow) -> str:
    return row.source.removeprefix("judge:") if row.source.startswith("judge:") else PEOPLE


def _preference(row: PreferenceRow) -> float:
    """A soft label where the label has a probability on its side, else 1, 1.5 or 2."""
    if row.label == "tie":
        return 1.5
    if row.p_first is not None and (row.p_first > 0.5) == (row.label == "first") and row.p_first != 0.5:
        return 2.0 - row.p_first
    return 1.0 if row.label == "first" else 2.0


def _asked(row: PreferenceRow) -> list[dict[str, str]]:
    return [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else list(row.prompt)


def _conversation(row: PreferenceRow, text: str) -> list[dict[str, str]]:
    return [*_asked(row), {"role": "assistant", "content": text}]


def _instruction(row: PreferenceRow) -> str:
    turns = _asked(row)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns)


def _line(**values: Any) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)
