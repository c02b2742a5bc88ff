"""Reading the answers of annotation tools: which question compares the answers, and what each answer means.

A project may ask many things about one item. Only one question compares the answers; a rating of quality, a second
choice or a comment must never be taken for it. A question compares if its values name the answers, or if its name says
so and its values are A or B, 1 or 2, or a tie: "1" under any other name may mean anything. Ratings of single answers
are scores and not preferences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefloop.formats.rows import Row
from prefloop.records import InvalidRecord

Choice = int | str
Groups = list[list[int]]

WORDS: dict[str, Choice] = {
    "tie": "tie", "equal": "tie", "same": "tie", "both": "tie", "both_good": "tie", "both good": "tie", "draw": "tie",
    "both_bad": "both_bad", "both bad": "both_bad", "neither": "both_bad", "none": "both_bad",
}  # fmt: skip
_SIDES: dict[str, int] = {"left": 0, "first": 0, "right": 1, "second": 1}
_LETTERS: dict[str, int] = {"a": 0, "1": 0, "b": 1, "2": 1}
_NAMED = re.compile(r"(?:response|answer|completion|model|generation|output|option)[ _-]?([12ab])(?: is better)?")
_COMPARES = (
    re.compile(r"prefer|overall.*(better|best|choice)"),
    re.compile(r"better|best|winner|compar|choose|chosen|choice|pairwise"),
    re.compile(r"rank|select|pick|which"),
    re.compile(r"^(label|vote|verdict|judge?ment|annotation|decision)$"),
)
_RATES = re.compile(r"qualit|rating|rate\b|score|toxic|safe|harm|relevan|helpful|correct|factual|grade|language|prompt")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to one question and what it says of the answers, if anything. `raw` is the value in the file."""

    question: str
    raw: Any
    choice: Choice | None = None
    groups: Groups | None = None
    best: int | None = None  # of more than two: better than each other, which are not compared
    named: bool = False  # by the answers' own names, which no other question would use

    @property
    def says(self) -> bool:
        return self.choice is not None or self.groups is not None or self.best is not None

    def pairs(self, n: int) -> list[Row]:
        """Give the pairs that a choice decides, with the outcome."""
        if self.best is None:
            return [] if self.choice is None else [{"pair": [0, 1], "choice": self.choice}]
        return [{"pair": sorted((self.best, i)), "choice": int(self.best > i)} for i in range(n) if i != self.best]


def choice_in(value: Any, names: Sequence[str]) -> tuple[Choice | None, bool]:
    """Read which of two answers a word means: by its name or its side (True), by a letter, or neither (False)."""
    if not isinstance(value, str):
        return None, False
    word = value.strip().lower()
    found = place_of(word, names)
    if found is not None:
        return found, True
    if word in _SIDES:
        return _SIDES[word], True
    side = _NAMED.fullmatch(word)
    if side:
        return _LETTERS[side[1]], True
    return (_LETTERS[word] if word in _LETTERS else WORDS.get(word)), False


def place_of(value: object, names: Sequence[str]) -> int | None:
    """Say which answer a value names: by its column's name, in any spelling."""
    word = _bare(str(value))
    bare = [_bare(name) for name in names]
    return bare.index(word) if word and bare.count(word) == 1 else None


def groups_in(ranks: Iterable[tuple[Any, Any]], names: Sequence[str]) -> Groups | None:
    """Make groups, best first, from each value's rank; equal ranks are tied, values without a rank are left out.

    A value is an answer's name or the number at its end. None if some value names no answer or two name one, or if
    fewer than two are ranked.
    """
    level: dict[int, float] = {}
    endings = [_ending(name) for name in names]
    for value, rank in ranks:
        if rank in (None, ""):
            continue
        place = place_of(value, names)
        if place is None:
            end = _ending(str(value))
            place = endings.index(end) if end and endings.count(end) == 1 else None
        if place is None or place in level or isinstance(rank, bool):
            return None
        try:
            level[place] = float(rank)
        except (TypeError, ValueError):
            return None
    if len(level) < 2:
        return None
    return [[i for i in sorted(level) if level[i] == value] for value in sorted(set(level.values()))]


def answered(question: str, value: Any, names: Sequence[str], *, groups: Groups | None = None) -> Answered:
    """Read one answer to one question."""
    if groups is not None:
        if len(names) == 2:
            return Answered(question, value, choice="tie" if len(groups) == 1 else groups[0][0], named=True)
        return Answered(question, value, groups=groups, named=True)
    if len(names) > 2:
        best = place_of(value, names) if isinstance(value, str) else None
        return Answered(question, value, best=best, named=best is not None)
    choice, named = choice_in(value, names)
    return Answered(question, value, choice=choice, named=named)


def compares(question: str) -> int | None:
    """Say how clearly a question's name says that it compares (0 is the clearest); None if it does not."""
    low = question.lower()
    tier = next((i for i, pattern in enumerate(_COMPARES) if pattern.search(low)), None)
    return None if tier is not None and tier > 0 and _RATES.search(low) else tier


def is_aside(question: str) -> bool:
    """Whether a question's name says that it is not about which answer is better."""
    return bool(_RATES.search(question.lower())) and compares(question) is None


def comparing(answers: Iterable[Answered]) -> str | None:
    """Name the question that compares, among all that were answered; None if there is none.

    Raises InvalidRecord where two questions do so equally well.
    """
    found: dict[str, int] = {}
    for one in answers:
        tier = compares(one.question)
        if tier is None and one.named and not is_aside(one.question):
            tier = len(_COMPARES)
        if one.says and tier is not None:
            found[one.question] = min(tier, found.get(one.question, tier))
    best = sorted(name for name, tier in found.items() if tier == min(found.values()))
    if len(best) > 1:
        raise InvalidRecord(
            f"the questions {' and '.join(map(repr, best[:3]))} both compare the answers: keep one of them in the file"
        )
    return best[0] if best else None


def rated_answer(question: str, names: Sequence[str]) -> tuple[int, str] | None:
    """Find the answer that a question is about by its name, and what is rated: `overall_rating_response_1`."""
    low = question.lower()
    found = [
        (i, name)
        for i, name in enumerate(names)
        if re.search(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])", low)
    ]
    if len(found) != 1:
        return None
    place, name = found[0]
    return place, re.sub(r"^[ _./-]+|[ _./-]+$", "", low.replace(name.lower(), "")) or "rating"


def sampled(verdicts: Iterable[Row], verdict: Row) -> int:
    """Count a judge's earlier verdicts on a pair."""
    return sum(one["judge"] == verdict["judge"] and one["pair"] == verdict["pair"] for one in verdicts)


def number_of(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _ending(text: str) -> str:
    found = re.search(r"(\d+|(?<![a-z])[a-z])\s*$", text.lower())
    return found[1] if found else ""
