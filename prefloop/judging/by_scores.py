"""Functions that turn the scores of two answers into a verdict; each kind of judge that scores declares one of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from prefloop.judging.asking import Question
from prefloop.judging.rules import compared
from prefloop.judging.spec import JudgeSpec
from prefloop.preference import p_of_difference, sigmoid, verdict_at
from prefloop.seeds import derive_seed
from prefloop.types import LabelledVerdict, VerdictState, mean

_WORST: tuple[VerdictState, ...] = (
    "error",
    "skipped",
    "unparseable",
)  # the verdict has the first of these that one of the two answers has


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """One score of one answer by a judge. `value` is None unless `state` is `ok`."""

    state: VerdictState = "ok"
    value: float | None = None
    raw: str = ""
    rationale: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


Scores = Sequence[ScoredAnswer]  # of one answer, a sample each
ByScores = Callable[[JudgeSpec, Question, Scores, Scores], LabelledVerdict]


def mean_score(scores: Iterable[ScoredAnswer]) -> float | None:
    """Return the mean of the scores that could be read; None if there is none."""
    values = [float(one.value) for one in scores if one.value is not None]
    return mean(values) if values else None


def unscored(*sides: Scores) -> LabelledVerdict | None:
    """Return the verdict if one of the answers has no score; None if both have one."""
    without = [one for scores in sides if mean_score(scores) is None for one in scores]
    if all(mean_score(scores) is not None for scores in sides):
        return None
    for state in _WORST:
        for one in without:
            if one.state == state and one.rationale:
                return LabelledVerdict(state=state, rationale=one.rationale)
    return LabelledVerdict(state="error", rationale="one of the answers was not scored")


def by_sigmoid(spec: JudgeSpec, question: Question, first: Scores, second: Scores) -> LabelledVerdict:
    """Compare by a Bradley–Terry reward model: σ(difference) is the probability that the first answer is better."""
    return unscored(first, second) or verdict_at(sigmoid(_value(first) - _value(second)))


def by_coin(spec: JudgeSpec, question: Question, first: Scores, second: Scores) -> LabelledVerdict:
    """Compare by a known utility: draw the outcome with probability σ(difference / noise), by the judge's seed.

    With `soft` the verdict holds the probability; otherwise only the drawn outcome, as a person's vote would.
    """
    p = p_of_difference(_value(first) - _value(second), noise=spec.noise)
    if spec.soft:
        return verdict_at(p)
    # keyed by the texts, so that the same pair is judged the same in any database
    seed = derive_seed(spec.seed, "world", question.prompt, *question.answers)
    tied = p == 0.5 and spec.noise == 0
    return LabelledVerdict(
        state="ok", outcome="tie" if tied else "first" if random.Random(seed).random() < p else "second"
    )


def by_rules(spec: JudgeSpec, question: Question, first: Scores, second: Scores) -> LabelledVerdict:
    """Compare by rules: the answer that meets more of them wins, without a probability."""
    if (none := unscored(first, second)) is not None:
        return none
    outcome, _ = compared(_value(first), _value(second))
    why = f"First answer: {first[0].rationale}\nSecond answer: {second[0].rationale}"
    return LabelledVerdict(state="ok", outcome=outcome, rationale=why)


def by_grades(spec: JudgeSpec, question: Question, first: Scores, second: Scores) -> LabelledVerdict:
    """Compare by the mean grades: a tie if they differ by no more than `tie_delta`."""
    a, b = mean_score(first), mean_score(second)
    replies = [*first, *second]
    more = {
        "raw": "\n\n".join(one.raw for one in replies if one.raw),
        "flags": tuple(dict.fromkeys(flag for one in replies for flag in one.flags)),
    }
    if a is None or b is None:
        failed = any(one.state == "error" for one in replies)
        why = "no score of one of the answers could be read"
        return LabelledVerdict(state="error" if failed else "unparseable", rationale=why, **more)  # type: ignore[arg-type]
    outcome = "tie" if abs(a - b) <= spec.tie_delta + 1e-9 else "first" if a > b else "second"
    return LabelledVerdict(state="ok", outcome=outcome, rationale=f"scores {a:.4g} and {b:.4g}", **more)  # type: ignore[arg-type]


def _value(scores: Scores) -> float:
    return mean_score(scores) or 0.0
