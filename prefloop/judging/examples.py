"""Pairs that people decided, shown to a judge before its question (few-shot), and which pairs may serve as such.

An example is a turn of the conversation: the judge's own template filled with the pair, and the reply that the people's
decision would have been, in the form that the template asks for. The order in which its answers are shown is drawn from
a fixed seed, so that the better answer is shown first as often as second.

A judge's labelled pairs are split for good into those it may be aligned on and those it is measured on (`may_align`),
by the text of the prompt and the name of the judge: two pairs of one prompt are on one side, and every later version of
the judge has the same sides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from prefloop.control_tokens import defuse
from prefloop.judging.modes import BY_LOGPROB, MODES, JudgeMode
from prefloop.types import AS_STORED, SWAPPED, Order, Outcome

MOST_EXAMPLES = 64
MOST_EXAMPLE_CHARS = 60_000  # of all examples together: each is read with every question


@dataclass(frozen=True, slots=True)
class Example:
    """A pair and how people decided it, with their reason if they gave one."""

    prompt: str
    first: str
    second: str
    outcome: Outcome
    reason: str = ""

    @property
    def n_chars(self) -> int:
        return len(self.prompt) + len(self.first) + len(self.second) + len(self.reason)


def may_align(judge: str, prompt: str) -> bool:
    """Whether pairs of this prompt may be shown to the judge of this name; if not, it is measured on them."""
    packed = f"{len(judge)}:{judge}{prompt}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(packed).digest()[0] % 2 == 0


def can_show(mode: JudgeMode, outcome: str) -> bool:
    """Whether a reply of this mode can express the outcome: one letter can't say a tie, and nothing says both bad."""
    return outcome in ("first", "second") or (outcome == "tie" and mode not in BY_LOGPROB)


def orders_of(examples: Sequence[Example]) -> list[Order]:
    """The order in which each example's answers are shown: the better one first in half of them, mixed."""
    better_first = [place % 2 == 0 for place in range(len(examples))]
    Random(0).shuffle(better_first)
    return [
        AS_STORED if (example.outcome != "second") == first else SWAPPED
        for example, first in zip(examples, better_first, strict=True)
    ]


def reply_of(mode: JudgeMode, example: Example, order: Order) -> str:
    """The reply that the people's decision would have been, to the pair as shown in this order."""
    first, second = MODES[mode].labels
    label = "C" if example.outcome == "tie" else first if (example.outcome == "first") == (order[0] == 0) else second
    if mode in BY_LOGPROB:
        return label
    reason = defuse(example.reason).replace("[[", "[").strip()
    if mode == "json":
        return json.dumps({"reasoning": reason, "verdict": label}, ensure_ascii=False)
    if mode == "five":
        label = {"A": "A>B", "B": "B>A", "C": "A=B"}[label]
    return f"{reason}\n[[{label}]]".lstrip()
