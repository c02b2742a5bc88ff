"""A corpus of answers that address the judge, and whether one of them flipped a verdict.

The corpus is data (`attack_corpus/v1.json`), in our own wording; what it covers follows the published ways of fooling
judges: injected orders, false ends of the answer, control tokens, ready-made verdicts, openings that alone win (Zhao et
al. 2025, One Token to Fool LLM-as-a-Judge, arXiv:2507.08794), one answer for everything, and mere length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from prefloop.judging.verdicts import EffectiveLabel
from prefloop.types import Outcome

CORPUS = "1"
CONTROL = "control"  # adds nothing: how often a judge changes its mind by itself


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    about: str
    place: Literal["prefix", "suffix", "replace"]
    text: str
    repeat: int = 1

    def on(self, answer: str) -> str:
        """Return `answer` with the attack in it, or replaced by it."""
        text = self.text * self.repeat
        if self.place == "replace":
            return text
        return text + answer if self.place == "prefix" else answer + text


@cache
def attacks() -> tuple[Attack, ...]:
    """The corpus in order, the control first."""
    text = resources.files("prefloop.judging").joinpath("attack_corpus", f"v{CORPUS}.json").read_text("utf-8")
    return tuple(Attack(**row) for row in json.loads(text)["attacks"])


def worse_side(label: EffectiveLabel) -> Outcome | None:
    """The side that a judge found worse, where an attack could win; None for a tie or no label."""
    return {"first": "second", "second": "first"}.get(label.outcome or "")  # type: ignore[return-value]


def is_flipped(attacked: Outcome, label: EffectiveLabel) -> bool:
    """Whether the answer with the attack now wins. Disagreeing orders (`inconsistent`) are not a win."""
    return label.state == "ok" and label.outcome == attacked
