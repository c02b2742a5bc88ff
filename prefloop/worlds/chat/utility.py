"""What an answer of the chat world is truly worth: the share of its prompt's constraints that it meets. Torch-free."""

from __future__ import annotations

from functools import lru_cache

from prefloop.judging.rules import RuleSet, read_rules
from prefloop.types import PrefloopError
from prefloop.worlds.chat.prompts import CONSTRAINTS


class NotOfThisWorld(PrefloopError):
    """A prompt asks for none of the world's constraints, so the worth of an answer to it is not known."""


@lru_cache(maxsize=4096)
def rules_in(prompt: str) -> RuleSet:
    """Read the constraints that a prompt ends with. Raises NotOfThisWorld."""
    found = [one for one in CONSTRAINTS if prompt.endswith(f" {one.asks}")]
    if not found:
        raise NotOfThisWorld(
            f"the world chat knows no constraint in the prompt {prompt[:80]!r}: measure other prompts with a judge "
            "(evaluation.judge=NAME)"
        )
    longest = max(found, key=lambda one: len(one.asks))  # two constraints end with the second one's sentence
    return read_rules([dict(rule) for rule in longest.rules])


def utility(prompt: str, completion: str) -> float:
    """Return the share of the prompt's constraints that an answer meets. Raises NotOfThisWorld."""
    return rules_in(prompt).check(completion, prompt=prompt).share
