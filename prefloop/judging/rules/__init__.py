"""Rules: verifiable checks of an answer, declared as data.

    rules = read_rules([{"check": "words", "at_most": 120}, {"check": "contains", "text": "Maria"}])
    found = rules.check("Dear Maria, …", prompt="Write a thank-you note to Maria.")
    found.share, found.all_met, found.sentence()      # 0.5, False, "1 of 2 rules met. words: It has 140 words; …"

Rules come from a person for a whole project, or with each prompt in its metadata: a list under `rules`, or IFEval's
`instruction_id_list` and `kwargs`, whose ids may also be written as the name of a check. Whoever writes rules may be a
stranger: they hold no code, are checked when they are read, and their regular expressions and JSON schemas meet an
answer in a process with limits. An empty answer meets no rule, as in IFEval.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefloop.confined import LimitExceeded
from prefloop.judging.rules import checks as _checks
from prefloop.judging.rules.declaration import CHECKS, Answer, BadRules, Check
from prefloop.judging.rules.ifeval import INSTRUCTIONS
from prefloop.types import Outcome

__all__ = ["CHECKS", "BadRules", "Checked", "Result", "Rule", "RuleSet", "compared", "read_rules", "rules_of"]

MOST_RULES = 100
_IN_METADATA = ("rules", "instruction_id_list")
_DECLARED = _checks  # importing the module declares its checks


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, and the checks it stands for with their values."""

    name: str
    parts: tuple[tuple[Check, dict[str, Any]], ...]

    def fault(self, answer: Answer) -> str:
        """Say why the answer does not meet this rule; "" if it does. Raises LimitExceeded, BadRules."""
        if not answer.text.strip():
            return "It is empty."
        try:
            faults = (check.decide(answer, **values) for check, values in self.parts)
            return next((why for why in faults if why), "")
        except (LimitExceeded, BadRules) as error:
            raise type(error)(f"rule {self.name} could not be checked: {error}") from error


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one rule. `why` is empty if it is met."""

    name: str
    why: str

    @property
    def met(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Checked:
    """The results of all rules on one answer."""

    results: tuple[Result, ...]

    @property
    def n_met(self) -> int:
        return sum(result.met for result in self.results)

    @property
    def share(self) -> float:
        """The share of the rules that are met."""
        return self.n_met / len(self.results)

    @property
    def all_met(self) -> bool:
        return self.n_met == len(self.results)

    def sentence(self) -> str:
        """How many rules are met, and why the others aren't."""
        n = len(self.results)
        said = [f"{self.n_met} of {n} {'rule' if n == 1 else 'rules'} met."]
        return " ".join([*said, *(f"{result.name}: {result.why}" for result in self.results if not result.met)])


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules that an answer must meet, all of them."""

    rules: tuple[Rule, ...]

    def check(self, text: str, *, prompt: str = "", loose: bool = False) -> Checked:
        """Check an answer.

        Raises LimitExceeded where an expression or a schema takes too long on it, and BadRules where a schema turns out
        not to be one.

        `loose` is IFEval's upper bound: a rule is met where it is by the answer or by one of seven edited ones, without
        its stars, its first line, its last line, and all that joined.
        """
        answers = [Answer(said, prompt) for said in (_loosely(text) if loose else [text])]
        results = []
        for rule in self.rules:
            faults = (rule.fault(answer) for answer in answers)
            why = next(faults)
            results.append(Result(rule.name, "" if not why or not all(faults) else why))
        return Checked(tuple(results))

    def __add__(self, other: RuleSet) -> RuleSet:
        return RuleSet(self.rules + other.rules)


def compared(first: float, second: float) -> tuple[Outcome, float]:
    """The outcome between two answers by their scores, and the probability that the first is better."""
    if first == second:
        return "tie", 0.5
    return ("first", 1.0) if first > second else ("second", 0.0)


def read_rules(given: Any) -> RuleSet:
    """Read rules: a list, IFEval's two lists in an object, or either as JSON text. Raises BadRules in one sentence."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise BadRules(f"the rules are not valid JSON: {error}") from error
    if isinstance(given, Mapping):
        if not set(given) & set(_IN_METADATA):
            raise BadRules('an object of rules holds a list "rules", or IFEval\'s "instruction_id_list" and "kwargs"')
        found = rules_of(given)
        if found is None:
            raise BadRules("the rules are empty")
        return found
    if not isinstance(given, Sequence) or not given:
        raise BadRules('rules are a list of objects such as {"check": "words", "at_most": 100}')
    if len(given) > MOST_RULES:
        raise BadRules(f"there are {len(given):,} rules, more than {MOST_RULES}")
    return RuleSet(tuple(_rule(i, one) for i, one in enumerate(given, start=1)))


def rules_of(metadata: Mapping[str, Any]) -> RuleSet | None:
    """Read the rules in a prompt's metadata; None if it has none. Raises BadRules."""
    own, ids, values = (metadata.get(key) for key in (*_IN_METADATA, "kwargs"))
    found = [read_rules(own)] if own else []
    if ids:
        if not isinstance(ids, Sequence) or isinstance(ids, str) or not all(isinstance(one, str) for one in ids):
            raise BadRules("instruction_id_list is not a list of ids")
        values = [{}] * len(ids) if values is None else values
        if not isinstance(values, Sequence) or len(values) != len(ids):
            raise BadRules(f"kwargs must be a list of {len(ids)}, one for each of instruction_id_list")
        if not all(value is None or isinstance(value, Mapping) for value in values):
            raise BadRules("each of kwargs must be an object")
        found.append(read_rules([dict(value or {}, check=name) for name, value in zip(ids, values, strict=True)]))
    return sum(found[1:], found[0]) if found else None


def _rule(number: int, given: Any) -> Rule:
    if not isinstance(given, Mapping) or not isinstance(given.get("check"), str):
        raise BadRules(f'rule {number} is not an object with the name of a "check"')
    name = given["check"]
    values = {key: value for key, value in given.items() if key != "check"}
    try:
        if name in INSTRUCTIONS:
            parts = INSTRUCTIONS[name].read(values)
        elif name in CHECKS:
            parts = [(name, values)]
        else:
            raise BadRules(f"there is no such check{_near(name)}")
        return Rule(name, tuple((CHECKS[part], CHECKS[part].read(given)) for part, given in parts))
    except BadRules as error:
        raise BadRules(f"rule {number} ({name[:60]}): {error}") from error


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, [*CHECKS, *INSTRUCTIONS], n=1)
    return f"; did you mean {near[0]}?" if near else f": there are {', '.join(CHECKS)}, and IFEval's instruction ids"


def _loosely(text: str) -> list[str]:
    lines = text.split("\n")
    edited = [text, *("\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*edited, *(one.replace("*", "") for one in edited)]
