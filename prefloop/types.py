"""The plain types that flow between the parts of a recipe. No torch, no Django, no I/O.

Outcomes are in terms of the canonical pair (the lower completion first), never of the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Outcome = Literal["first", "second", "tie", "both_bad"]
VerdictState = Literal["ok", "inconsistent", "unparseable", "error", "skipped"]
# what a person may say of a pair instead of an outcome: leave it to others, or answer that nobody could tell by it
Unlabelled = Literal["skip", "cant_judge"]
Strength = Literal["better", "much_better"]  # by how much the chosen answer is the better one
OrderPolicy = Literal["both_agree", "average", "random"]
Split = Literal["train", "eval"]

PromptContent = str | tuple[dict[str, Any], ...]  # a text, or messages with a role and a text as content

Order = tuple[int, int]  # of two answers, as they are shown: positions in the canonical pair
AS_STORED: Order = (0, 1)
SWAPPED: Order = (1, 0)

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
UNLABELLED: tuple[Unlabelled, ...] = get_args(Unlabelled)
SKIPPED, CANT_JUDGE = UNLABELLED
ANSWERS = (*OUTCOMES, CANT_JUDGE)  # what a wanted vote may be; a skip leaves it to others
STRENGTHS: tuple[Strength, ...] = get_args(Strength)
OUTCOME_CODES: dict[str, int] = {outcome: code for code, outcome in enumerate(OUTCOMES)}  # in columns of integers


class PrefloopError(Exception):
    """An error that the user can correct; its text is one clear line."""


class BadData(PrefloopError):
    """A prompt or row in the user's data that can't be used; `index`: which of those that were given."""

    def __init__(self, message: str, *, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `logp_sum` is in nats at temperature 1, over `ids` (EOS included when `finished`)."""

    text: str
    ids: tuple[int, ...] = ()
    logp_sum: float | None = None
    source: str = ""
    seed: int | None = None
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt, with a score each if the recipe has scores."""

    prompt_id: str
    completions: tuple[Completion, ...]
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scores is not None and len(self.scores) != len(self.completions):
            raise ValueError(
                f"group {self.prompt_id}: {len(self.scores)} scores for {len(self.completions)} completions"
            )


@dataclass(frozen=True, slots=True)
class Pair:
    """Completions `i` and `j` of one group; `p` is the probability that `i` is better (None: not labelled yet)."""

    i: int
    j: int
    p: float | None = None

    def __post_init__(self) -> None:
        if self.i == self.j:
            raise ValueError("a pair needs two different completions")
        if self.p is not None and not 0.0 <= self.p <= 1.0:
            raise ValueError(f"p must be in [0, 1], not {self.p}")


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One row of a snapshot: the exact pair that a run is trained on, and where its label came from."""

    id: str
    prompt: PromptContent
    first: str
    second: str
    p_first: float
    weight: float = 1.0
    first_ids: tuple[int, ...] = ()  # of answers that a policy with the same tokenizer drew; else empty
    second_ids: tuple[int, ...] = ()
    source: str = ""  # override | adjudication | human | judge:NAME | scores | data
    label_ids: tuple[str, ...] = ()
    target: str | None = None  # an answer to keep likely beside the pair (SLiC-HF, CLICK); None: the better one
    target_ids: tuple[int, ...] = ()
    # which of them reached its longest length before it ended, so that it gets no end; ids say it themselves
    first_cut: bool = False
    second_cut: bool = False
    target_cut: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LabelledVerdict:
    """The verdict of one call to a judge on one comparison, in canonical terms."""

    state: VerdictState
    outcome: Outcome | None = None
    p_first: float | None = None
    raw: str = ""
    rationale: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()  # why a person should look: floored, control-token, verdict-in-answer


def mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("the mean of nothing is undefined")
    return sum(values) / len(values)
