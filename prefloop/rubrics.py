"""Rubrics: the questions by which one answer is rated, each on a scale from 1 to 5 or by yes or no.

A guideline's version holds the rubric of its project, one item a line:

    correct: Is everything that it says true?
    polite (yes/no): Does it greet and thank?
    short (yes/no, weight 2): Has it fewer than a hundred words?

A prompt may add items of its own, in its metadata under `rubric`: a list of such lines, or of objects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefloop.types import PrefloopError

SCALE, YES_NO = "1-5", "yes/no"
LOWEST: dict[str, int] = {SCALE: 1, YES_NO: 0}
HIGHEST: dict[str, int] = {SCALE: 5, YES_NO: 1}
MOST, MOST_OF_PROMPT = 12, 12
LONGEST_NAME, LONGEST_QUESTION = 40, 300
SLACK = 1  # points from 1 to 5 by which careful people differ on one answer
IN_METADATA = "rubric"
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_LINE = re.compile(r"(?P<name>[^():]*?)\s*(?:\((?P<how>[^()]*)\))?\s*:\s*(?P<question>.*)", re.DOTALL)
_DIGITS = 9  # of a total: two that differ by less are equal


class BadRubric(PrefloopError):
    """A rubric that can't be used, or values that don't answer it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a rubric. `kind`: "1-5" or "yes/no"; `weight`: its part of the total, beside the others'."""

    name: str
    question: str
    kind: str = SCALE
    weight: float = 1.0

    @property
    def options(self) -> tuple[int, ...]:
        """The values that it can be given, as a person sees them in order: 1 to 5, or yes (1) and no (0)."""
        return (1, 2, 3, 4, 5) if self.kind == SCALE else (1, 0)

    def share(self, value: int) -> float:
        """Where a value lies between the lowest (0) and the highest (1)."""
        return (value - LOWEST[self.kind]) / (HIGHEST[self.kind] - LOWEST[self.kind])


def rubric_read(text: str) -> tuple[Item, ...]:
    """Read one item a line. Raises BadRubric."""
    return _checked([_of_line(line) for line in filter(None, map(str.strip, text.splitlines()))], MOST)


def rubric_written(rubric: Sequence[Item]) -> str:
    """Write a rubric as `rubric_read` reads it."""
    return "\n".join(_line_of(item) for item in rubric)


def rubric_of_prompt(metadata: Mapping[str, Any]) -> tuple[Item, ...]:
    """Read the items that a prompt adds; none where its metadata have no rubric. Raises BadRubric."""
    given = metadata.get(IN_METADATA)
    if given is None:
        return ()
    if not isinstance(given, list):
        raise BadRubric("a prompt's rubric is a list of items")
    return _checked([_of_line(one) if isinstance(one, str) else _of_object(one) for one in given], MOST_OF_PROMPT)


def rubric_for(rubric: Sequence[Item], metadata: Mapping[str, Any]) -> tuple[Item, ...]:
    """The items by which answers to a prompt are rated: the project's, then the prompt's, which replace those of the
    same name.
    """
    own = {item.name: item for item in rubric_of_prompt(metadata)}
    return (*(own.pop(item.name, item) for item in rubric), *own.values())


def rubric_stored(rubric: Sequence[Item]) -> list[list[Any]]:
    """A rubric in JSON's types, as guidelines and ratings store it."""
    return [[item.name, item.question, item.kind, item.weight] for item in rubric]


def rubric_loaded(stored: Sequence[Sequence[Any]]) -> tuple[Item, ...]:
    """Read back what `rubric_stored` gave."""
    return tuple(Item(str(name), str(question), str(kind), float(weight)) for name, question, kind, weight in stored)


def rubric_as_objects(rubric: Sequence[Item]) -> list[dict[str, Any]]:
    """A rubric as files have it; `rubric_from_objects` reads it back."""
    return [
        {"name": item.name, "question": item.question, "kind": item.kind}
        | ({} if item.weight == 1 else {"weight": item.weight})
        for item in rubric
    ]


def rubric_from_objects(given: object) -> tuple[Item, ...]:
    """Read a rubric as files have it. Raises BadRubric."""
    if not isinstance(given, list) or not given:
        raise BadRubric("a rubric is a list of items")
    return _checked([_of_object(one) for one in given], MOST + MOST_OF_PROMPT)


def values_checked(rubric: Sequence[Item], values: Mapping[str, object]) -> dict[str, int]:
    """Return the values in the rubric's order. Raises BadRubric unless each item has one value that it can have."""
    unknown = sorted(values.keys() - {item.name for item in rubric})
    if unknown:
        raise BadRubric(f"the rubric has no item {unknown[0][:LONGEST_NAME]!r}")
    found: dict[str, int] = {}
    for item in rubric:
        value = values.get(item.name)
        if value is None:
            raise BadRubric(f"the item {item.name!r} has no value")
        if isinstance(value, bool) and item.kind == YES_NO:
            value = int(value)
        if type(value) is not int or value not in item.options:
            allowed = "yes (1) or no (0)" if item.kind == YES_NO else "a whole number from 1 to 5"
            raise BadRubric(f"the value of {item.name!r} must be {allowed}")
        found[item.name] = value
    return found


def total(rubric: Sequence[Item], values: Mapping[str, int]) -> float:
    """The weighted mean of where the values lie between the lowest and the highest: from 0 to 1."""
    weight = sum(item.weight for item in rubric)
    return round(sum(item.weight * item.share(values[item.name]) for item in rubric) / weight, _DIGITS)


def compared_to_known(
    rubric: Sequence[Item], values: Mapping[str, int], known_rubric: Sequence[Item], known: Mapping[str, int]
) -> dict[str, bool]:
    """Say for each item that both rubrics have whether a value is as it is known to be: the same for yes and no, and at
    most SLACK away from 1 to 5.
    """
    kinds = {item.name: item.kind for item in known_rubric}
    return {
        item.name: abs(values[item.name] - known[item.name]) <= (SLACK if item.kind == SCALE else 0)
        for item in rubric
        if kinds.get(item.name) == item.kind
    }


def _of_line(line: str) -> Item:
    found = _LINE.fullmatch(line)
    if found is None or not found["question"].strip():
        raise BadRubric(f"write each item as name: question, or name (yes/no): question, not {line[:60]!r}")
    kind, weight = SCALE, 1.0
    for part in filter(None, (one.strip() for one in (found["how"] or "").split(","))):
        if part in LOWEST:
            kind = part
        elif part.startswith("weight "):
            weight = _weight(found["name"], part.removeprefix("weight "))
        else:
            raise BadRubric(f"in brackets an item has 1-5 or yes/no, and its weight as weight 2, not {part[:40]!r}")
    return _item(found["name"], found["question"], kind, weight)


def _line_of(item: Item) -> str:
    how = [item.kind] if item.kind != SCALE else []
    how += [f"weight {repr(item.weight).removesuffix('.0')}"] if item.weight != 1 else []
    brackets = f" ({', '.join(how)})" if how else ""
    return f"{item.name}{brackets}: {item.question}"


def _of_object(given: object) -> Item:
    if not isinstance(given, dict):
        raise BadRubric("an item of a rubric is a line of text or an object")
    unknown = sorted(set(map(str, given)) - {"name", "question", "kind", "weight"})
    if unknown:
        raise BadRubric(f"an item of a rubric has name, question, kind and weight, not {unknown[0][:40]!r}")
    name, question, kind = given.get("name"), given.get("question"), given.get("kind", SCALE)
    if not isinstance(name, str) or not isinstance(question, str):
        raise BadRubric("an item of a rubric needs a name and a question, both texts")
    if not isinstance(kind, str) or kind not in LOWEST:
        raise BadRubric(f"the kind of the item {name[:LONGEST_NAME]!r} is neither {SCALE!r} nor {YES_NO!r}")
    return _item(name, question, kind, _weight(name, given.get("weight", 1.0)))


def _item(name: str, question: str, kind: str, weight: float) -> Item:
    name, question = name.strip(), " ".join(question.split())
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise BadRubric(
            f"{name[:60]!r} is no name of an item: at most {LONGEST_NAME} small letters, digits and single hyphens"
        )
    if not question:
        raise BadRubric(f"the item {name!r} has no question")
    if len(question) > LONGEST_QUESTION:
        raise BadRubric(f"the question of the item {name!r} has more than {LONGEST_QUESTION} characters")
    return Item(name, question, kind, weight)


def _weight(name: str, given: object) -> float:
    try:
        weight = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type] # refused below
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 < weight <= 1000:
        raise BadRubric(f"the weight of the item {name[:LONGEST_NAME]!r} must be a number above 0, at most 1000")
    return weight


def _checked(items: list[Item], most: int) -> tuple[Item, ...]:
    names = [item.name for item in items]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadRubric(f"the item {twice[0]!r} stands there twice")
    if len(items) > most:
        raise BadRubric(f"a rubric has at most {most} items, not {len(items)}")
    return tuple(items)
