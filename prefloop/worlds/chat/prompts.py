"""The prompts of the chat world: a question about an everyday subject, and constraints that can be checked. Torch-free.

A prompt is a subject from `SUBJECTS`, in one of the wordings of `QUESTIONS`, with one or more constraints from
`CONSTRAINTS`. Each constraint is declared once, as the sentence that asks for it and the rules that check it
(`prefloop.judging.rules`). Subjects that are held out appear in no training prompt; the constraints are the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from prefloop.types import Split

Level = Literal["easy", "middle", "hard"]
PER_SUBJECT = 8  # prompts about each subject

QUESTIONS = (
    "Explain {subject}.",
    "Tell me {subject}.",
    "I would like to know {subject}.",
    "Please describe {subject}.",
    "A friend asked me {subject}. What should I answer?",
    "Write a short answer for a school magazine that explains {subject}.",
)

SUBJECTS: Mapping[Split, tuple[str, ...]] = {
    "train": (
        "why the sky is blue", "how bees find their way home", "how bread rises", "why the sea is salty",
        "how a rainbow forms", "why leaves change colour in autumn", "how a bicycle stays upright",
        "why cats purr", "how soap removes grease", "why we yawn", "how a seed becomes a tree",
        "why ice floats on water", "how the moon causes the tides", "why onions make us cry",
        "how a lock on a canal works", "why we dream", "how birds learn to sing", "why metal feels colder than wood",
        "how cheese is made", "why volcanoes erupt", "how to keep a houseplant alive",
        "how to prepare for a job interview", "how to fall asleep more easily", "how to choose a good book",
        "how to save money on groceries", "how to learn a new language", "how to make a cup of tea",
        "how to apologise to a friend", "how to pack for a weekend trip", "how to start running",
        "what a library is for", "what makes a good teacher", "what a compass does", "what democracy means",
        "what a vaccine does", "what happens during an eclipse", "what glaciers are made of",
        "what a budget is", "what an engineer does", "what makes music sound sad",
    ),
    "eval": (
        "why stars twinkle", "how honey is made", "why deserts are cold at night", "how a thermometer works",
        "how to care for a pair of leather shoes", "how to write a thank-you note", "how to remember names",
        "what an earthquake is", "what a translator does", "what makes a garden healthy",
        "why dogs wag their tails", "how a sailing boat moves against the wind",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Constraint:
    """One way to restrict an answer: how it is asked for, and the rules that check it."""

    name: str
    level: Level
    asks: str
    rules: tuple[Mapping[str, Any], ...]


def _one(name: str, level: Level, asks: str, **rule: Any) -> Constraint:
    return Constraint(name, level, asks, (rule,))


def _both(first: Constraint, second: Constraint) -> Constraint:
    return Constraint(f"{first.name}+{second.name}", "hard", f"{first.asks} {second.asks}", first.rules + second.rules)


_ONE_SENTENCE = _one("one-sentence", "easy", "Answer in exactly one sentence.", check="sentences", exactly=1)
_TWO_SENTENCES = _one("two-sentences", "easy", "Answer in exactly two sentences.", check="sentences", exactly=2)
_TWENTY_WORDS = _one("20-words", "easy", "Use at most 20 words.", check="words", at_most=20)
_FORTY_WORDS = _one("40-words", "easy", "Use at most 40 words.", check="words", at_most=40)
_NO_COMMAS = _one("no-commas", "easy", "Do not use any commas.", check="no_comma")
_BECAUSE = _one(
    "word-because", "easy", 'Use the word "because" in your answer.', check="contains", text="because", whole_word=True
)
_EXAMPLE = _one(
    "word-example", "easy", 'Use the word "example" in your answer.', check="contains", text="example", whole_word=True
)
_NO_CAN = _one("without-can", "middle", 'Do not use the word "can".', check="lacks", texts=["can"])
_NO_IT = _one("without-it", "middle", 'Do not use the word "it".', check="lacks", texts=["it"])
_SMALL = _one("lowercase", "middle", "Write your whole answer in lowercase letters.", check="case", all="small")
_CAPITAL = _one("capitals", "middle", "Write your whole answer in capital letters.", check="case", all="capital")
_STARTS = _one("starts-well", "middle", 'Begin your answer with the word "Well".', check="starts", text="Well")
_THREE_BULLETS = _one(
    "three-bullets",
    "middle",
    "Answer with exactly three bullet points, each on a line that begins with a hyphen.",
    check="bullets",
    exactly=3,
)
_TWO_BULLETS = _one(
    "two-bullets",
    "middle",
    "Answer with exactly two bullet points, each on a line that begins with a hyphen.",
    check="bullets",
    exactly=2,
)
_QUOTED = _one("quoted", "middle", "Put your whole answer in double quotation marks.", check="quoted")
_ENDS = _one(
    "ends", "middle", 'End your answer with exactly these words: "That is all."', check="ends", text="That is all."
)
_POSTSCRIPT = _one("postscript", "middle", "Add a postscript at the end that begins with P.S.", check="postscript")
_JSON = _one(
    "json",
    "hard",
    'Answer with a JSON object that has one key, "answer", whose value is a text. Write nothing else.',
    check="json",
    schema={
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    },
)

CONSTRAINTS: tuple[Constraint, ...] = (
    _ONE_SENTENCE, _TWO_SENTENCES, _TWENTY_WORDS, _FORTY_WORDS, _NO_COMMAS, _BECAUSE, _EXAMPLE,
    _NO_CAN, _NO_IT, _SMALL, _CAPITAL, _STARTS, _THREE_BULLETS, _TWO_BULLETS, _QUOTED, _ENDS, _POSTSCRIPT,
    _JSON,
    _both(_ONE_SENTENCE, _NO_COMMAS), _both(_ONE_SENTENCE, _TWENTY_WORDS), _both(_TWO_SENTENCES, _BECAUSE),
    _both(_FORTY_WORDS, _SMALL), _both(_TWENTY_WORDS, _NO_IT), _both(_THREE_BULLETS, _FORTY_WORDS),
    _both(_TWO_SENTENCES, _ENDS), _both(_NO_COMMAS, _EXAMPLE),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    id: str  # "train-0007"
    text: str
    split: Split
    metadata: dict[str, Any] = field(default_factory=dict)  # subject, constraint, level, and the rules


@lru_cache(maxsize=8)
def prompts(split: Split, *, seed: int = 0) -> tuple[ChatPrompt, ...]:
    """Return the prompts of a split, shuffled: each subject with `PER_SUBJECT` different constraints."""
    rng = random.Random(f"chat-prompts-{split}-{seed}")
    waiting: list[Constraint] = []
    drawn: list[tuple[str, Constraint]] = []
    for subject in SUBJECTS[split]:
        mine: list[Constraint] = []
        while len(mine) < PER_SUBJECT:
            if not waiting:  # every constraint comes once before any comes again
                waiting = rng.sample(CONSTRAINTS, len(CONSTRAINTS))
            constraint = waiting.pop()
            if constraint not in mine:
                mine.append(constraint)
        drawn += [(subject, constraint) for constraint in mine]
    rng.shuffle(drawn)
    return tuple(
        ChatPrompt(
            id=f"{split}-{number:04d}",
            text=f"{rng.choice(QUESTIONS).format(subject=subject)} {constraint.asks}",
            split=split,
            metadata={
                "subject": subject,
                "constraint": constraint.name,
                "level": constraint.level,
                "rules": [dict(rule) for rule in constraint.rules],
            },
        )
        for number, (subject, constraint) in enumerate(drawn)
    )
