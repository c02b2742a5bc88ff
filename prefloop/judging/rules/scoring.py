"""A judge made of rules: the score it gives to an answer, and its stored settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefloop.judging.rules import BadRules, RuleSet, read_rules, rules_of

COUNTS = ("share", "all")
_NAMES = ("rules", "from_metadata", "count", "loose")


class NoRules(BadRules):
    """A prompt without rules."""


@dataclass(frozen=True, slots=True)
class RuleScorer:
    """Scores answers by rules: those for every prompt, and those in a prompt's metadata.

    `count` "share" gives the share of the rules that are met, "all" 1 if all are, else 0. `loose` as in `RuleSet`.
    """

    shared: RuleSet | None = None
    from_metadata: bool = False
    count: str = "share"
    loose: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RuleScorer:
        """Read a judge's options: rules, from_metadata, count, loose. Raises BadRules."""
        rules, from_metadata = options.get("rules"), options.get("from_metadata", False)
        count, loose = options.get("count", "share"), options.get("loose", False)
        for name, value in (("from_metadata", from_metadata), ("loose", loose)):
            if not isinstance(value, bool):
                raise BadRules(f"{name} must be true or false")
        if count not in COUNTS:
            raise BadRules(f"count must be {' or '.join(COUNTS)}")
        if not rules and not from_metadata:
            raise BadRules("give rules, or take them from each prompt's metadata")
        return cls(read_rules(rules) if rules else None, from_metadata, count, loose)

    def rules_for(self, metadata: Mapping[str, Any]) -> RuleSet:
        """Return the rules for a prompt. Raises NoRules, and BadRules if its own can't be read."""
        own = rules_of(metadata) if self.from_metadata else None
        if self.shared is None and own is None:
            raise NoRules("this prompt has no rules in its metadata")
        if self.shared is None or own is None:
            return own or self.shared  # type: ignore[return-value]  # one of them is there
        return self.shared + own

    def score(self, *, prompt: str, metadata: Mapping[str, Any], answer: str) -> tuple[float, str]:
        """Return an answer's score and the reason why it is not higher. Raises NoRules, BadRules, LimitExceeded."""
        checked = self.rules_for(metadata).check(answer, prompt=prompt, loose=self.loose)
        return (checked.share if self.count == "share" else float(checked.all_met)), checked.sentence()


def checked_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a judge's options as they are stored; rules may be JSON text. Raises BadRules."""
    if strange := sorted(set(options) - set(_NAMES)):
        raise BadRules(f"a judge of the kind rules has no setting {', '.join(strange)}, only {', '.join(_NAMES)}")
    rules = options.get("rules")
    if isinstance(rules, str):
        try:
            rules = json.loads(rules) if rules.strip() else None
        except (ValueError, RecursionError) as error:
            raise BadRules(f"the rules are not valid JSON: {error}") from error
    stored = {**options, "rules": rules}
    RuleScorer.of(stored)
    return stored
