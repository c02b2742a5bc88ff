"""The world preference of letters: a known utility that people can check with their own eyes.

A letter gains by naming the right person and the right thing, by warm words, a greeting and a closing; it loses by a
wrong name or thing, rude words, saying a sentence twice, and running on. Torch-free: the simulated judge reads it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from prefloop.preference import p_of_difference
from prefloop.worlds.letters.words import ALL_THINGS, CLOSINGS, NAMES, RUDE_WORDS, WARM_WORDS

Criterion = Literal["kind and correct", "short", "very short"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

WARMTH_EACH, WARMTH_MOST = 0.75, 4
RUDE_EACH, RUDE_MOST = 1.5, 3
REPEAT_EACH, REPEAT_MOST = 0.75, 2
LENGTH_FREE, LENGTH_EACH, LENGTH_MOST = 40, 0.1, 2.0  # words that cost nothing, utility per word beyond, at most


def _any_of(phrases: tuple[str, ...], flags: int = 0) -> re.Pattern[str]:
    longest_first = sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b", flags)


_NAME = _any_of(NAMES)
_THING = _any_of(ALL_THINGS, re.IGNORECASE)
_WARM = _any_of(WARM_WORDS, re.IGNORECASE)
_RUDE = _any_of(RUDE_WORDS, re.IGNORECASE)
_GREETING = re.compile(r"\s*(?:My dear|Dear|Hello|Hi|Good morning)\s+\w+\s*,")
# A closing is its own phrase before a comma in the last 40 characters, so that "take care of" in a sentence is none.
_CLOSING = re.compile(r"\b(?:" + "|".join(CLOSINGS) + r"),\s*\w*\s*$")
_PROMPT_NAME = re.compile(r"\b(?:to|thank|owe|like|invite|congratulate|remind|wish|up)\s+([A-Z][\w'-]*)", re.IGNORECASE)
_PROMPT_THING = re.compile(r"\b(?:about|for|on|after|to)\s+(the\s+[\w -]+?)(?:\s+in\b[^.]*)?[.!?]", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")


@dataclass(frozen=True, slots=True)
class UtilityParts:
    """What each visible quality adds to the utility; `total` is their sum."""

    right_name: float  # +1 the right name, 0 none, -1 another person's instead
    right_thing: float  # +1 the right thing, 0 none, -1 another thing instead
    warmth: float  # 0.75 for each different warm word, four at most
    greeting: float  # 0.5
    closing: float  # 0.5
    rudeness: float  # -1.5 for each different rude word, three at most
    repetition: float  # -0.75 for each sentence said again, two at most
    length: float  # -0.1 for each word beyond 40, down to -2

    @property
    def total(self) -> float:
        return (
            self.right_name
            + self.right_thing
            + self.warmth
            + self.greeting
            + self.closing
            + self.rudeness
            + self.repetition
            + self.length
        )


@lru_cache(maxsize=4096)
def subject(prompt: str) -> tuple[str | None, str | None]:
    """The name and the thing that a prompt asks for, e.g. ("Maria", "the flowers"); None where it names none.

    A name or a thing outside the world's lists is read from where the world's prompts put it.
    """
    name = _NAME.search(prompt)
    if name is not None:
        found_name: str | None = name.group()
    else:
        guesses = [guess for guess in _PROMPT_NAME.findall(prompt) if guess[0].isupper()]
        found_name = guesses[0] if guesses else None
    things = _THING.findall(prompt)
    if not things:
        things = _PROMPT_THING.findall(prompt)
    return found_name, things[-1].lower() if things else None


def _named(asked: str | None, known: re.Pattern[str], text: str, *, fold: bool) -> float:
    """+1 if `text` names what was asked, -1 if it names another instead, 0 otherwise."""
    if asked is None:
        return 0.0
    if re.search(rf"\b{re.escape(asked)}\b", text, re.IGNORECASE if fold else 0):
        return 1.0
    return -1.0 if known.search(text) else 0.0


def count_words(text: str) -> int:
    return len(text.split())


def _distinct(pattern: re.Pattern[str], text: str) -> int:
    return len({found.lower() for found in pattern.findall(text)})


def _repeats(text: str) -> int:
    sentences = [sentence.strip().lower() for sentence in _SENTENCE.findall(text)]
    return len(sentences) - len(set(sentences))


def parts(prompt: str, completion: str) -> UtilityParts:
    """The utility of `completion` as an answer to `prompt`, quality by quality. An empty letter has 0 everywhere."""
    name, thing = subject(prompt)
    closing = _CLOSING.search(completion)
    body = completion[: closing.start()] if closing else completion  # "Kind regards" isn't warmth
    too_long = max(0, count_words(completion) - LENGTH_FREE)
    return UtilityParts(
        right_name=_named(name, _NAME, completion, fold=False),
        right_thing=_named(thing, _THING, completion, fold=True),
        warmth=WARMTH_EACH * min(_distinct(_WARM, body), WARMTH_MOST),
        greeting=0.5 if _GREETING.match(completion) else 0.0,
        closing=0.5 if closing else 0.0,
        rudeness=-RUDE_EACH * min(_distinct(_RUDE, body), RUDE_MOST),
        repetition=-REPEAT_EACH * min(_repeats(body), REPEAT_MOST),
        length=-min(LENGTH_EACH * too_long, LENGTH_MOST),
    )


def named_words(completion: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The warm and the rude words that count, each once, in the order in which the letter says them."""
    closing = _CLOSING.search(completion)
    body = completion[: closing.start()] if closing else completion
    warm, rude = (tuple(dict.fromkeys(found.lower() for found in pattern.findall(body))) for pattern in (_WARM, _RUDE))
    return warm, rude


def utility(prompt: str, completion: str) -> float:
    """The world preference's utility: 6 at best, about 2 for a letter of the corpus, down to -9.75."""
    return parts(prompt, completion).total


def criterion_utility(criterion: Criterion, prompt: str, completion: str) -> float:
    """The utility that a judge with this `criterion` uses.

    "kind and correct" is the world preference itself; "short" wants the right name and thing in few words; "very short"
    counts words only. Raises ValueError on another criterion.
    """
    if criterion == "kind and correct":
        return utility(prompt, completion)
    words = count_words(completion)
    if criterion == "short":
        found = parts(prompt, completion)
        return found.right_name + found.right_thing - 0.1 * words
    if criterion == "very short":
        return -0.2 * words
    raise ValueError(f"unknown criterion {criterion!r}; known: {', '.join(CRITERIA)}")


def preference_probability(prompt: str, a: str, b: str, *, noise: float) -> float:
    """P(a better than b) = sigmoid((u(a) - u(b)) / noise); without noise 1, 0, or a half for equals."""
    if noise < 0:
        raise ValueError(f"noise must be 0 or more, not {noise}")
    return p_of_difference(utility(prompt, a) - utility(prompt, b), noise=noise)
