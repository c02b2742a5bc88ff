"""What a check is: a name, the values it takes, and a function that says why an answer does not meet it.

    @check("starts", text=one_text, ignore_case=flag(default=True))
    def starts(answer: Answer, *, text: str, ignore_case: bool) -> str: ...     # "" where it is met

    @counts("word", "words")
    def words(answer: Answer) -> int: ...                # takes at_least, at_most and exactly

A value is read by a function that gives it back in its plain form or raises ValueError with the words that follow its
name in a sentence: "at_least must be a whole number of 0 or more".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefloop.judging.rules.language import LANGUAGES
from prefloop.types import PrefloopError

MOST_CHARS = 10_000
MOST_TEXTS = 100
MOST_PATTERN = 1_000
_MOST = 1_000_000
_SHOWN = 60  # characters of an answer or of a rule in a sentence
_BOUNDS = ("at_least", "at_most", "exactly")


class BadRules(PrefloopError):
    """Rules that can't be read; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to check, and its prompt."""

    text: str
    prompt: str = ""


Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be left out, and its default."""

    read: Read
    default: Any


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of check. `decide(answer, **values)` says why an answer does not meet it; "" where it does."""

    name: str
    summary: str
    values: Mapping[str, Read | Optional]
    decide: Callable[..., str]
    counted: bool = False
    at_least: int | None = None  # of a check that counts, where no bound is given

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Read the values of a rule. Raises BadRules, without saying which rule it was."""
        known = [*self.values, *(_BOUNDS if self.counted else ())]
        for name in given:
            if name not in known:
                raise BadRules(f"it takes no {name!r}, only {_listed(known) if known else 'its name'}")
        out = {}
        for name, how in self.values.items():
            if name in given:
                try:
                    out[name] = (how.read if isinstance(how, Optional) else how)(given[name])
                except ValueError as error:
                    raise BadRules(f"{name} {error}") from error
            elif isinstance(how, Optional):
                out[name] = how.default
            else:
                raise BadRules(f"{name} is missing")
        return out | self._bounds(given) if self.counted else out

    def _bounds(self, given: Mapping[str, Any]) -> dict[str, int]:
        out: dict[str, int] = {}
        for name in _BOUNDS:
            if name in given:
                try:
                    out[name] = number(given[name])
                except ValueError as error:
                    raise BadRules(f"{name} {error}") from error
        if not out and self.at_least is not None:
            return {"at_least": self.at_least}
        if not out:
            raise BadRules(f"it needs {_listed(_BOUNDS, 'or')}")
        if "exactly" in out and len(out) > 1:
            raise BadRules("exactly can't be combined with at_least or at_most")
        if out.get("at_least", 0) > out.get("at_most", _MOST):
            raise BadRules("at_least is more than at_most")
        return out


CHECKS: dict[str, Check] = {}


def check(name: str, **values: Read | Optional) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Declare a check by the function that decides it; its docstring says what it asks."""

    def declare(decide: Callable[..., str]) -> Callable[..., str]:
        CHECKS[name] = Check(name, _summary(decide), values, decide)
        return decide

    return declare


def counts(
    one: str, many: str, *, name: str = "", has: str = "has", at_least: int | None = None, **values: Read | Optional
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Declare a check by a function that counts something; the rule says how many there may be.

    `one` and `many` say what is counted, after "It has 3 "; they may hold a value of the rule by its name.
    """

    def declare(count: Callable[..., int]) -> Callable[..., int]:
        def decide(answer: Answer, **given: Any) -> str:
            bounds = {bound: given.pop(bound) for bound in _BOUNDS if bound in given}
            n = count(answer, **given)
            if out_of(n, **bounds):
                shown = {key: short(str(value)) for key, value in given.items()}
                what = (one if n == 1 else many).format(**shown)
                return f"It {has.format(**shown)} {n:,} {what}; {wanted(**bounds)} asked for."
            return ""

        called = name or count.__name__
        CHECKS[called] = Check(called, _summary(count), values, decide, counted=True, at_least=at_least)
        return count

    return declare


def short(text: str) -> str:
    """The beginning of a text, for a sentence."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def out_of(n: int, *, at_least: int = 0, at_most: int = _MOST, exactly: int | None = None) -> bool:
    """Whether a number is outside of the bounds."""
    return n != exactly if exactly is not None else not at_least <= n <= at_most


def wanted(*, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> str:
    """The bounds in words, with the verb."""
    if exactly is not None:
        return f"exactly {exactly:,} {'is' if exactly == 1 else 'are'}"
    if at_least is not None and at_most is not None:
        return f"{at_least:,} to {at_most:,} are"
    if at_least is not None:
        return f"at least {at_least:,} {'is' if at_least == 1 else 'are'}"
    return f"at most {at_most:,} {'is' if at_most == 1 else 'are'}"


def number(value: Any) -> int:
    """A whole number from 0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # data sets that passed through a table hold 3.0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError(f"must be a whole number from 0 to {_MOST:,}, not {_shown(value)}")
    return value


def position(value: Any) -> int:
    """A whole number from 1."""
    if (n := number(value)) < 1:
        raise ValueError("must be 1 or more")
    return n


def one_text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_CHARS:
        raise ValueError(f"must be a text of 1 to {MOST_CHARS:,} characters, not {_shown(value)}")
    return value


def stripped(value: Any) -> str:
    """A text without the space around it."""
    return one_text(value).strip()


def texts(value: Any) -> tuple[str, ...]:
    """A text, or a list of texts."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_TEXTS:
        raise ValueError(f"must be a list of 1 to {MOST_TEXTS} texts, not {_shown(value)}")
    return tuple(one_text(item) for item in value)


def letter(value: Any) -> str:
    """One character."""
    if not isinstance(value, str) or len(value.strip()) != 1:
        raise ValueError(f"must be one character, not {_shown(value)}")
    return value.strip()


def one_of(*choices: str) -> Read:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be {_listed(choices, 'or')}, not {_shown(value)}")
        return str(value)

    return read


def flag(*, default: bool) -> Optional:
    """True or false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {_shown(value)}")
        return value

    return Optional(read, default)


def language(value: Any) -> str:
    """The code of a language that can be told."""
    if value not in LANGUAGES:
        raise ValueError(f"must be the two-letter code of a language, such as en or fr, not {_shown(value)}")
    return str(value)


def pattern(value: Any) -> str:
    """A regular expression, as Python writes them."""
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_PATTERN:
        raise ValueError(f"must be a regular expression of 1 to {MOST_PATTERN:,} characters, not {_shown(value)}")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a valid regular expression: {error or 'it is nested too deeply'}") from error
    return value


def schema(value: Any) -> dict[str, Any] | bool:
    """A JSON schema."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(value, (dict, bool)) or len(json.dumps(value)) > MOST_CHARS:
        raise ValueError(f"must be a JSON schema of up to {MOST_CHARS:,} characters, not {_shown(value)}")
    try:
        validator_for(value).check_schema(value)
    except SchemaError as error:
        raise ValueError(f"is not a valid JSON schema: {error.message[:200]}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return value


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


def _listed(names: Any, word: str = "and") -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else str(last)


def _shown(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False, default=str))
